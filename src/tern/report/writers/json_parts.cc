#include "tern/report/writers/json_parts.h"

#include "tern/report/writers/comparison.h"
#include "tern/trace/level.h"

namespace tern::report {

Json json_or_null(const std::optional<double>& value) { return value ? json_number(*value) : Json(nullptr); }

Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json tokens_json(const compare::TokenComparison& tokens) {
  Json differences = Json::array();
  for (const compare::TokenDifference& difference : tokens.differences) {
    differences.push_back({{"step", difference.step},
                           {"subject", difference.chosen.subject},
                           {"reference", difference.chosen.reference},
                           {"kind", compare::token_difference_name(difference.kind)},
                           {"gap", json_or_null(difference.gap)}});
  }
  return {{"prompt_known", tokens.prompt_known},
          {"prompt_equal", tokens.prompt_equal},
          {"teacher_forced", tokens.teacher_forced},
          {"subject", tokens.n_generated.subject},
          {"reference", tokens.n_generated.reference},
          {"compared", tokens.n_compared},
          {"equal", tokens.n_equal},
          {"first_divergence_step", count_or_null(tokens.first_divergence_step)},
          {"exact_match_rate", json_or_null(tokens.exact_match_rate)},
          {"differences", std::move(differences)}};
}

Json metrics_json(const compare::Metrics& metrics) {
  const bool measured = metrics.n > metrics.n_non_finite;
  return {{"n", metrics.n},
          {"n_different", metrics.n_different},
          {"n_non_finite", metrics.n_non_finite},
          {"cosine", json_or_null(metrics.cosine)},
          {"relative_error", json_or_null(metrics.relative_error)},
          {"rms_error", measured ? json_number(metrics.rms_error) : Json(nullptr)},
          {"max_abs", measured ? json_number(metrics.max_abs) : Json(nullptr)},
          {"max_abs_index", measured ? Json(metrics.max_abs_index) : Json(nullptr)}};
}

Json first_divergence_json(const std::optional<Divergence>& divergence) {
  if (!divergence || divergence->is_tokens) {
    return divergence ? Json(divergence->name) : Json(nullptr);
  }
  Json json = {{"name", divergence->name}, {"seq", divergence->seq}};
  if (divergence->is_tensor) {
    json["ubatch"] = divergence->ubatch;
  }
  json["layer"] = divergence->layer;
  json["stage"] = divergence->stage;
  return json;
}

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

Json engine_json(const outcome::EngineFacts& engine) {
  return {{"kind", text_or_null(engine.kind)},     {"spec", text_or_null(engine.spec)},
          {"engine", text_or_null(engine.engine)}, {"id", text_or_null(engine.id)},
          {"note", text_or_null(engine.note)},     {"details", engine.details}};
}

Json parity_json(const ScenarioView& view) {
  const outcome::ScenarioOutcome& scenario = view.scenario;
  const auto* const tokens = view.tokens;
  Json parity = {
      {"status", view.status},
      {"reason", text_or_null(scenario.reason)},
      {"cpp_available", view.reference_was_there},
      {"cosine_similarity", json_or_null(view.min_cosine)},
      {"cosine_ok", view.grade == Grade::kNone ? Json(nullptr) : Json(view.grade == Grade::kGreen)},
      {"cosine_mean", json_or_null(view.mean_cosine)},
      {"exact_match_rate", json_or_null(view.exact_match_rate)},
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
  parity["tensors_missing"] = count(coverage.tensors_missing);
  parity["missing"] = compared ? text_or_null(scenario.comparison->missing) : Json(nullptr);
  parity["notes"] = scenario.notes;
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
  parity["level"] = compared ? Json(trace::level_name(scenario.comparison->level)) : Json(nullptr);
  parity["first_divergence"] = first_divergence_json(view.first_divergence);
  return parity;
}

}  // namespace tern::report
