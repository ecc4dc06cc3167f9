// Oracles that do one thing wrong, as engines out there have been found to do: what a judge is tested with. Each is a
// small class that changes exactly one step of the pass, and a line in the table in faults.cc.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "tern/base/error.h"
#include "tern/oracle/oracle.h"

namespace tern::oracle {

struct Fault {
  std::string_view name;  // "activation_function"
  std::string_view does;  // one line
  // The contract's id of what an engine with this fault suffers from; it always goes wrong in the same way, so it can
  // be told by that. Empty where it does not, or where the fault is none of the computation.
  std::string_view cause;
  // Stages that it computes otherwise; all others come out right, given what went into them.
  std::span<const trace::Stage> changes;
  // Those of them that it changes in every layer, pass and model that has them: where one is right, this is not it.
  // Empty: none for sure.
  std::span<const trace::Stage> always_changes;
  // `n_threads`: as many as the faulty engine claims to run on.
  std::unique_ptr<Oracle> (*make)(const Oracle& plain, int n_threads);
};

std::span<const Fault> known_faults();

// Null where there is none of this name.
const Fault* find_fault(std::string_view name);

}  // namespace tern::oracle
