// Oracles that do one thing wrong, as engines out there have been found to do: what a judge is tested with. Each is a
// small class in faults.cc that changes exactly one step of the pass, and a line in the table there.
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
  // Always wrong in the same way, so that another engine with this fault computes the same: it can be told by that.
  bool is_cause;
  // `n_threads`: as many as the faulty engine claims to run on.
  std::unique_ptr<Oracle> (*make)(const Oracle& plain, int n_threads);
};

std::span<const Fault> known_faults();

// Null where there is none of this name.
const Fault* find_fault(std::string_view name);

}  // namespace tern::oracle
