#include "tern/compare/outcome.h"

#include <algorithm>

namespace tern::compare {

std::string_view parity_status_name(ParityStatus status) {
  switch (status) {
    case ParityStatus::kOk:
      return "ok";
    case ParityStatus::kRustOnly:
      return "rust_only";
    case ParityStatus::kDiverged:
      return "diverged";
    case ParityStatus::kReferenceFailed:
      return "reference_failed";
    case ParityStatus::kMistrusted:
      return "mistrusted";
    case ParityStatus::kSubjectFailed:
      return "subject_failed";
  }
  return "?";
}

std::string_view check_status_name(ReferenceCheck::Status status) {
  switch (status) {
    case ReferenceCheck::Status::kPassed:
      return "passed";
    case ReferenceCheck::Status::kFailed:
      return "failed";
    case ReferenceCheck::Status::kSkipped:
      return "skipped";
  }
  return "?";
}

const ReferenceCheck* ReferenceCheckResult::first_failed() const {
  const auto it = std::find_if(checks.begin(), checks.end(),
                               [](const auto& check) { return check.status == ReferenceCheck::Status::kFailed; });
  return it == checks.end() ? nullptr : &*it;
}

int exit_code(const SweepOutcome& outcome) {
  const auto any = [&](ParityStatus status) {
    return std::any_of(outcome.scenarios.begin(), outcome.scenarios.end(),
                       [&](const ScenarioOutcome& scenario) { return scenario.status == status; });
  };
  if (any(ParityStatus::kSubjectFailed) || any(ParityStatus::kReferenceFailed)) {
    return 4;
  }
  const bool reference_is_missing = outcome.reference_required && any(ParityStatus::kRustOnly);
  if (outcome.scenarios.empty() || any(ParityStatus::kMistrusted) || reference_is_missing) {
    return 5;
  }
  return any(ParityStatus::kDiverged) ? 1 : 0;
}

}  // namespace tern::compare
