#include "tern/report/json_parts.h"
#include "tern/report/report.h"

namespace tern::report {
namespace {

using compare::RunComparison;
using compare::TensorComparison;

Json tensor_id_json(const trace::TensorId& id) {
  return {{"name", id.name()},
          {"seq", id.seq},
          {"ubatch", id.ubatch},
          {"layer", id.layer},
          {"stage", trace::stage_name(id.stage)}};
}

Json tensor_json(const TensorComparison& tensor) {
  Json json = tensor_id_json(tensor.id);
  json["status"] = compare::tensor_status_name(tensor.status);
  json["hash_equal"] = tensor.hash_equal;
  json["subject_shape"] = tensor.shape.subject.empty() ? Json(nullptr) : Json(tensor.shape.subject);
  json["reference_shape"] = tensor.shape.reference.empty() ? Json(nullptr) : Json(tensor.shape.reference);
  json["subject_rms"] = json_or_null(tensor.rms.subject);
  json["reference_rms"] = json_or_null(tensor.rms.reference);
  json["metrics"] = tensor.metrics ? metrics_json(*tensor.metrics) : Json(nullptr);
  if (!tensor.note.empty()) {
    json["note"] = tensor.note;
  }
  return json;
}

Json logits_json(const compare::LogitsComparison& logits) {
  Json positions = Json::array();
  for (const compare::LogitsPosition& position : logits.positions) {
    positions.push_back({{"position", position.position},
                         {"decode", position.is_decode},
                         {"status", compare::tensor_status_name(position.status)},
                         {"subject_argmax", position.argmax.subject},
                         {"reference_argmax", position.argmax.reference},
                         {"reference_margin", json_number(position.reference_margin)},
                         {"log_sum_exp_difference", json_or_null(position.log_sum_exp_difference)},
                         {"metrics", metrics_json(position.metrics)}});
  }
  const bool compared = !logits.positions.empty();
  return {{"subject_vocab", logits.vocab.subject},
          {"reference_vocab", logits.vocab.reference},
          {"entries_compared", logits.entries_compared},
          {"max_log_sum_exp_difference", json_or_null(logits.max_log_sum_exp_difference)},
          {"min_cosine", json_or_null(logits.min_cosine)},
          {"mean_cosine", json_or_null(logits.mean_cosine)},
          {"max_abs", compared ? json_number(logits.max_abs) : Json(nullptr)},
          {"positions", std::move(positions)}};
}

}  // namespace

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

Json first_divergence_json(const RunComparison& c) {
  if (c.verdict.kind != compare::VerdictKind::kDiverged) {
    return nullptr;
  }
  if (!c.tokens.prompt_equal) {
    return "tokens";
  }
  if (c.first_divergence) {
    return tensor_id_json(*c.first_divergence);
  }
  if (c.tokens.first_divergence_step) {
    // Every tensor agrees and yet another token was picked: the pick itself is what diverged.
    return {{"name", "generated_tokens"},
            {"seq", *c.tokens.first_divergence_step},
            {"layer", -1},
            {"stage", "generated_tokens"}};
  }
  return {{"name", "logits"}, {"seq", 0}, {"layer", -1}, {"stage", "logits"}};  // rows of another length
}

Json comparison_json(const RunComparison& c) {
  Json tensors = Json::array();
  for (const TensorComparison& tensor : c.tensors) {
    tensors.push_back(tensor_json(tensor));
  }
  const compare::Coverage& coverage = c.coverage;
  return {
      {"verdict", compare::verdict_name(c.verdict.kind)},
      {"reason", c.verdict.reason},
      {"coverage",
       {{"tensors_compared", coverage.tensors_compared},
        {"tensors_expected", coverage.tensors_expected},
        {"stages_compared", coverage.stages_compared},
        {"stages_expected", coverage.stages_expected},
        {"tokens_compared", coverage.tokens_compared},
        {"tokens_expected", coverage.tokens_expected},
        {"positions_compared", coverage.positions_compared},
        {"positions_expected", coverage.positions_expected},
        {"unknown_stages", coverage.unknown_stages}}},
      {"hash_equal", c.n_hash_equal},
      {"first_divergence", first_divergence_json(c)},
      {"first_hash_difference", c.first_hash_difference ? tensor_id_json(*c.first_hash_difference) : Json(nullptr)},
      {"cause", nullptr},  // not looked for
      {"exact", c.exact},
      {"exact_reason", c.exact_reason},
      {"tokens", tokens_json(c.tokens)},
      {"free_running", c.free_running ? tokens_json(*c.free_running) : Json(nullptr)},
      {"logits", c.logits ? logits_json(*c.logits) : Json(nullptr)},
      {"tensors", std::move(tensors)},
  };
}

}  // namespace tern::report
