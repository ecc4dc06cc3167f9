#include "tern/outcome/sweep_outcome.h"

namespace tern::outcome {

int exit_code(const SweepOutcome& sweep) {
  std::vector<int> codes;
  for (const ScenarioOutcome& scenario : sweep.scenarios) {
    codes.push_back(exit_code(scenario.status, sweep.reference_required));
  }
  return highest_ranking(codes);
}

}  // namespace tern::outcome
