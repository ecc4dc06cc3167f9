// What a reference is, and whether it passes its checks on a model: `tern reference check`.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tern/app/run_setting.h"
#include "tern/base/error.h"
#include "tern/base/interrupt.h"
#include "tern/base/json.h"
#include "tern/outcome/reference_check.h"
#include "tern/peer/open_engine.h"

namespace tern::app {

struct CheckReferenceOptions {
  std::string reference = "auto";
  std::vector<std::string> settings;  // of the reference, "KEY=VALUE"
  std::string model = bundled_model();
  std::string tokenizer;  // empty: tokenizer.json beside the model, or the GGUF's own vocabulary
  std::string prompt = "Count: 1,2,3,";
  std::vector<int32_t> token_ids;  // instead of the prompt, where there are any
  int max_tokens = 4;
  RunSettingOptions setting;
  AskOracle ask = AskOracle::kAuto;
};

struct CheckedReference {
  peer::OpenedEngine opened;
  std::string model, model_sha256;
  outcome::ReferenceCheckResult result;
};

// What is called while the checks run.
struct ReferenceCheckProgress {
  std::function<void(const peer::OpenedEngine& opened)> on_opened;
  std::function<void(const outcome::ReferenceCheck& check)> on_check;
};

// nullopt: interrupted. Errors: kNoVerdict where there is no reference; those of arbiter::check_reference() and of
// opening the reference.
Result<std::optional<CheckedReference>> check_reference(const CheckReferenceOptions& options,
                                                        const ReferenceCheckProgress& progress,
                                                        const Interrupt& interrupt);

// The reference and its libraries, a line for each fact.
std::string opened_reference_text(const peer::OpenedEngine& opened);
std::string reference_check_text(const outcome::ReferenceCheck& check);
// The cause where there is one, and whether the reference is trusted.
std::string conclusion_text(const outcome::ReferenceCheckResult& result);
Json to_json(const CheckedReference& checked);

}  // namespace tern::app
