// What a scenario comes to, and the exit codes that statuses stand for.
#pragma once

#include <span>
#include <string_view>

#include "tern/compare/verdict.h"

namespace tern::outcome {

enum class ParityStatus {
  kOk,        // compared with the reference, and no divergence
  kRustOnly,  // no reference
  kDiverged,
  kMistrusted,
  kReferenceFailed,
  kSubjectFailed,
  kMachineFailed,  // files could not be written or read; nothing is said about either side
};

// "ok", "rust_only", "diverged", "mistrusted", "reference_failed", "subject_failed", "machine_failed"
std::string_view parity_status_name(ParityStatus status);

// Of two runs that were compared.
ParityStatus status_of(compare::VerdictKind verdict);

// The exit code that docs/cross-validation.md lists. `reference_required`: a missing reference gives no verdict.
int exit_code(ParityStatus status, bool reference_required = false);

// What a sweep of that exit code comes to, for a heading: "Divergence". Where every scenario is `rust_only`, 0 is
// "Parity" too.
std::string_view exit_code_title(int exit_code);

// Of several exit codes the one that outranks the others: 3 before 4 before 1 before 5 before 0. 5 where there is none.
int highest_ranking(std::span<const int> exit_codes);

}  // namespace tern::outcome
