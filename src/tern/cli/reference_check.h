// `tern reference check`, and the same check before a sweep.
#pragma once

#include <string>

#include "tern/arbiter/reference_check.h"
#include "tern/base/interrupt.h"
#include "tern/cli/opened_model.h"
#include "tern/cli/third_opinion.h"
#include "tern/compare/outcome.h"

namespace tern::cli {

struct CheckRequest {
  const peer::Peer* reference = nullptr;
  std::filesystem::path model, tokenizer;
  std::string prompt;
  std::vector<int32_t> token_ids;
  int max_tokens = 4;
  int threads = 4;
  double timeout_s = 180;
  AskOracle ask = AskOracle::kAuto;
  const Interrupt* interrupt = nullptr;
};

// Runs all checks in a scratch folder. Errors: those of arbiter::check_reference().
Result<compare::ReferenceCheckResult> check_reference(const CheckRequest& request, const OpenedModel& opened,
                                                      const std::function<void(const compare::ReferenceCheck&)>& tell);

}  // namespace tern::cli
