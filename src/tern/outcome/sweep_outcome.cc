#include "tern/outcome/sweep_outcome.h"

#include <algorithm>

namespace tern::outcome {

int exit_code(const SweepOutcome& sweep) {
  const auto any = [&](ParityStatus status) {
    return std::any_of(sweep.scenarios.begin(), sweep.scenarios.end(),
                       [&](const ScenarioOutcome& scenario) { return scenario.status == status; });
  };
  if (any(ParityStatus::kSubjectFailed) || any(ParityStatus::kReferenceFailed)) {
    return 4;
  }
  const bool reference_is_missing = sweep.reference_required && any(ParityStatus::kRustOnly);
  if (sweep.scenarios.empty() || any(ParityStatus::kMistrusted) || reference_is_missing) {
    return 5;
  }
  return any(ParityStatus::kDiverged) ? 1 : 0;
}

}  // namespace tern::outcome
