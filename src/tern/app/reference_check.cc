#include "tern/app/reference_check.h"

#include "tern/base/scratch_folder.h"

namespace tern::app {

Result<outcome::ReferenceCheckResult> check_reference(arbiter::CheckPlan plan, AskOracle ask, const OpenedModel& opened,
                                                      const std::function<void(const outcome::ReferenceCheck&)>& tell,
                                                      sweep::KeptRuns* kept_runs) {
  TERN_ASSIGN_OR_RETURN(const ScratchFolder scratch, ScratchFolder::in_temporary_folder());
  TERN_ASSIGN_OR_RETURN(arbiter::OracleEngines oracle, oracle_engines());
  TERN_ASSIGN_OR_RETURN(auto arithmetics, known_arithmetics(opened.view));
  TERN_ASSIGN_OR_RETURN(const size_t n_ids, count_prompt_ids(opened, plan.prompt, plan.token_ids));
  if (kept_runs != nullptr) {
    kept_runs->enter(sweep::KeptRuns::kReferenceCheck);
    kept_runs->keep(oracle);
    for (arbiter::KnownArithmetic& known : arithmetics) {
      known.engine = kept_runs->keep(std::move(known.engine));
    }
  }
  plan.why_no_oracle = why_no_oracle(ask, opened.view, n_ids + static_cast<size_t>(plan.max_tokens));
  plan.oracle = plan.why_no_oracle.empty() ? &oracle : nullptr;
  plan.arithmetics = &arithmetics;
  plan.arithmetic_probe = arithmetic_probe(opened.view);
  plan.folder = scratch.path();
  return arbiter::check_reference(plan, tell);
}

}  // namespace tern::app
