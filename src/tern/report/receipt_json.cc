#include "tern/report/format.h"
#include "tern/report/json_parts.h"
#include "tern/report/report.h"

namespace tern::report {
namespace {

using outcome::ScenarioOutcome;
using outcome::SweepOutcome;

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

Json model_json(const outcome::ModelFacts& model) {
  return {{"path", model.path},
          {"sha256", text_or_null(model.sha256)},
          {"architecture", text_or_null(model.architecture)},
          {"name", text_or_null(model.name)},
          {"quant", {{"format", text_or_null(model.quant_format)}, {"flavor", text_or_null(model.quant_flavor)}}},
          {"file_bytes", model.file_bytes > 0 ? Json(model.file_bytes) : Json(nullptr)}};
}

Json tokenizer_json(const outcome::TokenizerFacts& tokenizer) {
  return {{"path", text_or_null(tokenizer.path)},
          {"kind", text_or_null(tokenizer.kind)},
          {"vocab_size", tokenizer.vocab_size > 0 ? Json(tokenizer.vocab_size) : Json(nullptr)},
          {"sha256", text_or_null(tokenizer.sha256)},
          {"disagreements", tokenizer.disagreements}};
}

Json reference_json(const outcome::ReferenceFacts& reference) {
  return {{"kind", text_or_null(reference.kind)},     {"spec", text_or_null(reference.spec)},
          {"engine", text_or_null(reference.engine)}, {"id", text_or_null(reference.id)},
          {"note", text_or_null(reference.note)},     {"details", reference.details}};
}

Json parity_json(const SweepOutcome& sweep, const ScenarioOutcome& scenario) {
  const auto cosine = min_cosine_of(scenario);
  const compare::TokenComparison* tokens = tokens_of(scenario);
  Json parity = {
      {"status", outcome::parity_status_name(scenario.status)},
      {"reason", text_or_null(scenario.reason)},
      {"cpp_available", reference_was_there(sweep, scenario)},
      {"cosine_similarity", json_or_null(cosine)},
      {"cosine_ok", cosine ? Json(grade_of(cosine) == Grade::kGreen) : Json(nullptr)},
      {"cosine_mean", json_or_null(mean_cosine_of(scenario))},
      {"exact_match_rate", json_or_null(exact_match_rate_of(scenario))},
      {"first_divergence_step", tokens != nullptr ? count_or_null(tokens->first_divergence_step) : Json(nullptr)},
  };
  const bool compared = scenario.comparison.has_value();
  const compare::Coverage coverage = compared ? scenario.comparison->coverage : compare::Coverage{};
  const auto count = [compared](size_t n) { return compared ? Json(n) : Json(nullptr); };
  parity["positions_compared"] = count(coverage.positions_compared);
  parity["positions_expected"] = count(coverage.positions_expected);
  parity["tokens_compared"] = count(coverage.tokens_compared);
  parity["tokens_expected"] = count(coverage.tokens_expected);
  parity["tensors_compared"] = count(coverage.tensors_compared);
  parity["tensors_expected"] = count(coverage.tensors_expected);
  parity["tensors_equal"] = compared ? Json(scenario.comparison->n_hash_equal) : Json(nullptr);
  parity["stages_compared"] = count(coverage.stages_compared);
  parity["stages_expected"] = count(coverage.stages_expected);
  // The rows of logits and the tensors above are of the run that was fed the reference's tokens, where theirs differ.
  parity["teacher_forced"] =
      compared && scenario.comparison->free_running ? tokens_json(scenario.comparison->tokens) : Json(nullptr);
  parity["arbiter"] = scenario.arbitration ? arbitration_summary_json(*scenario.arbitration) : Json(nullptr);
  parity["no_arbiter_because"] = text_or_null(scenario.no_arbitration);
  parity["cause"] = cause_json(scenario.cause);
  parity["verdict"] = compared ? Json(compare::verdict_name(scenario.comparison->verdict.kind)) : Json(nullptr);
  parity["first_divergence"] = compared ? first_divergence_json(*scenario.comparison) : Json(nullptr);
  return parity;
}

std::string receipt_json(const SweepOutcome& sweep, const ScenarioOutcome& scenario) {
  Json rust = side_json(scenario, scenario.sides.subject.result);
  rust["logits_dim"] = count_or_null(scenario.logits_dim);
  return to_json_text({
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
      {"reference", reference_json(sweep.reference)},
      {"parity", parity_json(sweep, scenario)},
      {"repro", text_or_null(repro_line(sweep, scenario))},
      {"environment", sweep.environment},
  });
}

}  // namespace tern::report
