#include "tern/cli/reference_check.h"

namespace tern::cli {

Result<compare::ReferenceCheckResult> check_reference(const CheckRequest& request, const OpenedModel& opened,
                                                      const std::function<void(const compare::ReferenceCheck&)>& tell) {
  TERN_ASSIGN_OR_RETURN(const ScratchFolder scratch, ScratchFolder::create());
  TERN_ASSIGN_OR_RETURN(const arbiter::OracleEngines oracle, oracle_engines());
  TERN_ASSIGN_OR_RETURN(const auto arithmetics, known_arithmetics(opened.view));
  size_t n_prompt = request.token_ids.size();
  if (n_prompt == 0) {
    TERN_ASSIGN_OR_RETURN(const auto ids, opened.tokenizer.encode(request.prompt, true));
    n_prompt = ids.size();
  }
  arbiter::CheckPlan plan;
  plan.reference = request.reference;
  plan.why_no_oracle = why_no_oracle(request.ask, opened.view, n_prompt + static_cast<size_t>(request.max_tokens));
  plan.oracle = plan.why_no_oracle.empty() ? &oracle : nullptr;
  plan.arithmetics = &arithmetics;
  plan.arithmetic_probe = arithmetic_probe(opened.view);
  plan.model = request.model;
  plan.tokenizer = request.tokenizer;
  plan.prompt = request.prompt;
  plan.token_ids = request.token_ids;
  plan.max_tokens = request.max_tokens;
  plan.threads = request.threads;
  plan.timeout_s = request.timeout_s;
  plan.folder = scratch.path();
  plan.interrupt = request.interrupt;
  return arbiter::check_reference(plan, tell);
}

}  // namespace tern::cli
