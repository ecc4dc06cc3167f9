// Oracles that do one thing wrong, as real engines have been found to do: the tests of a judge. Each is a small class
// that changes exactly one step of the pass, and a line in the table in faults.cc.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "tern/base/error.h"
#include "tern/oracle/oracle.h"

namespace tern::oracle {

struct FaultSetting {
  int n_threads = 1;            // as many as the faulty engine claims to run on
  std::optional<double> value;  // of a wrong constant
};

struct Fault {
  std::string_view name;  // "activation_function"
  std::string_view does;  // one line
  // The id, as in outcome::Cause, of the cause that an engine with this fault has: such an engine always goes wrong in
  // the same way. Empty where it does not, or where the computation itself is right.
  std::string_view cause;
  std::unique_ptr<Oracle> (*make)(const Oracle& plain, const FaultSetting& setting);
  // Where the fault is a wrong constant: those that other models and engines use. Left to itself, it takes the first of
  // them that is not the model's own.
  std::span<const double> values = {};
};

std::span<const Fault> known_faults();

// A fault that a wrong side may have, and that nothing measures from the data: estimate/ has estimators of all others.
// It is held against what the side computed.
struct Hypothesis {
  std::string_view fault;
  // Stages that it computes otherwise; all others come out right, given what went into them.
  std::span<const trace::Stage> changes;
  // Those of them that it changes in every layer, pass and model that has them: where one is right, this is not it.
  // Empty: none for sure.
  std::span<const trace::Stage> always_changes;
};
std::span<const Hypothesis> hypotheses();

// Null where there is none of this name.
const Fault* find_fault(std::string_view name);

struct ChosenFault {
  const Fault* fault = nullptr;
  std::optional<double> value;
};
// "rope_pairing", or with a positive number where the fault is a wrong constant: "rope_base=1000000". Errors: kUsage.
Result<ChosenFault> parse_fault(std::string_view text);

}  // namespace tern::oracle
