// <scenario>/logits-comparison.json, the parity receipt. Its keys are an interface (docs/cross-validation.md); they and
// their meaning follow BitNet-rs, crossval/tests/parity_bitnetcpp.rs. `parity.cosine_similarity` is the smallest over
// the compared rows of logits; `rust` is the subject, whatever language it is written in.
#include "tern/report/writers/json_parts.h"
#include "tern/report/writers/writers.h"
#include "tern/trace/run_folder.h"

namespace tern::report {
namespace {

using outcome::ScenarioOutcome;

// What one side did, null where it gave no result. `n_steps` is the number of tokens asked for, `token_count` the
// number of ids of the prompt, as in BitNet-rs' receipts.
Json side_json(const ScenarioOutcome& scenario, const std::optional<trace::RunResult>& result) {
  if (!result) {
    return {{"engine", nullptr},
            {"decoded_tokens", nullptr},
            {"n_steps", scenario.scenario.max_tokens},
            {"token_count", nullptr}};
  }
  return {{"engine", text_or_null(result->engine)},      {"arithmetic", text_or_null(result->arithmetic)},
          {"decoded_tokens", result->generated_tokens},  {"n_steps", scenario.scenario.max_tokens},
          {"token_count", result->prompt_tokens.size()}, {"text", text_or_null(result->text)}};
}

}  // namespace

std::string receipt_json(const ScenarioView& view) {
  const outcome::SweepOutcome& sweep = view.sweep;
  const ScenarioOutcome& scenario = view.scenario;
  Json rust = side_json(scenario, scenario.sides.subject.result);
  rust["logits_dim"] = count_or_null(scenario.logits_dim);
  return to_json_text(with_format(Document::kReceipt, {
                                                          {"timestamp", sweep.timestamp},
                                                          {"tern_version", sweep.tern_version},
                                                          {"scenario", scenario.scenario.name},
                                                          {"prompt", scenario.scenario.prompt},
                                                          {"max_tokens", scenario.scenario.max_tokens},
                                                          {"model_path", sweep.model.path},
                                                          {"model_sha256", text_or_null(sweep.model.sha256)},
                                                          {"quant", model_json(sweep.model)["quant"]},
                                                          {"tokenizer", tokenizer_json(sweep.tokenizer)},
                                                          {"rust", std::move(rust)},
                                                          {"cpp", side_json(scenario, scenario.sides.reference.result)},
                                                          {"subject", engine_json(sweep.subject)},
                                                          {"reference", engine_json(sweep.reference)},
                                                          {"parity", parity_json(view)},
                                                          {"repro", text_or_null(view.repro)},
                                                          {"environment", sweep.environment},
                                                      }));
}

}  // namespace tern::report
