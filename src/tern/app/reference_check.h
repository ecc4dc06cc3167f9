// `tern reference check`, and the same check before a sweep.
#pragma once

#include <functional>

#include "tern/app/opened_model.h"
#include "tern/app/third_opinion.h"
#include "tern/arbiter/reference_check.h"
#include "tern/sweep/kept_runs.h"

namespace tern::app {

// Runs all checks in a scratch folder. `plan` says what to check on which prompt; the folder, the oracle and the known
// arithmetics are added here. With `kept_runs`, which the reference is in already, their runs are kept, too. Errors:
// those of arbiter::check_reference().
Result<outcome::ReferenceCheckResult> check_reference(arbiter::CheckPlan plan, AskOracle ask, const OpenedModel& opened,
                                                      const std::function<void(const outcome::ReferenceCheck&)>& tell,
                                                      sweep::KeptRuns* kept_runs = nullptr);

}  // namespace tern::app
