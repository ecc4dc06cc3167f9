#include "tern/report/writers/comparison.h"
#include "tern/report/writers/json_parts.h"
#include "tern/trace/level.h"
#include "tern/trace/stage.h"

namespace tern::report {
namespace {

using compare::RunComparison;
using compare::TensorComparison;

Json tensor_id_json(const trace::TensorId& id) {
  return {{"name", id.name()}, {"seq", id.seq}, {"ubatch", id.ubatch}, {"layer", id.layer}, {"stage", id.stage.name()}};
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
  if (tensor.may_be_missing) {
    json["may_be_missing"] = true;
  }
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

Json comparison_json(const RunComparison& c) {
  Json tensors = Json::array();
  for (const TensorComparison& tensor : c.tensors) {
    tensors.push_back(tensor_json(tensor));
  }
  const compare::Coverage& coverage = c.coverage;
  return {
      {"verdict", compare::verdict_name(c.verdict.kind)},
      {"level", trace::level_name(c.level)},
      {"level_reason", c.level_reason},
      {"reason", c.verdict.reason},
      {"coverage",
       {{"tensors_compared", coverage.tensors_compared},
        {"tensors_expected", coverage.tensors_expected},
        {"tensors_missing", coverage.tensors_missing},
        {"tensors_allowed_missing", coverage.tensors_allowed_missing},
        {"tensors_of_one_graph", coverage.tensors_of_one_graph},
        {"stages_compared", coverage.stages_compared},
        {"stages_expected", coverage.stages_expected},
        {"tokens_compared", coverage.tokens_compared},
        {"tokens_expected", coverage.tokens_expected},
        {"positions_compared", coverage.positions_compared},
        {"positions_expected", coverage.positions_expected}}},
      {"missing", text_or_null(c.missing)},
      {"notes", c.notes},
      {"hash_equal", c.n_hash_equal},
      {"first_divergence", first_divergence_json(divergence_of(c))},
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
