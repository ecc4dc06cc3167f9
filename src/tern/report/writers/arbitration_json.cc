#include "tern/report/writers/comparison.h"
#include "tern/report/writers/json_parts.h"
#include "tern/trace/stage.h"

namespace tern::report {
namespace {

using compare::Arbitration;
using compare::FirstWrong;
using compare::LocalError;
using compare::OracleError;
using compare::StageArbitration;

Json name_or_null(const std::optional<trace::TensorId>& id) { return id ? Json(id->name()) : Json(nullptr); }

Json first_wrong_json(const FirstWrong& first) {
  return {{"prefill", name_or_null(first.prefill)}, {"decode", name_or_null(first.decode)}};
}

Json error_json(const std::optional<OracleError>& error) {
  return error ? Json{{"relative_error", json_number(error->relative)},
                      {"is_lower_bound", error->is_lower_bound},
                      {"largest_over_rms", json_or_null(error->largest)}}
               : Json(nullptr);
}

Json bound_json(const compare::RoundingBound& bound) {
  return {{"relative_error", json_number(bound.relative)},
          {"is_lower_bound", false},
          {"largest_over_rms", json_number(bound.largest)},
          {"rms", json_number(bound.rms)}};
}

Json local_json(const std::optional<LocalError>& local) {
  return local ? Json{{"relative_error", json_number(local->error.relative)},
                      {"noise_floor", json_number(local->floor.relative)},
                      {"multiple_of_floor", json_number(local->multiple())}}
               : Json(nullptr);
}

Json stage_json(const StageArbitration& stage) {
  return {{"name", stage.id.name()},
          {"subject", error_json(stage.sides.subject.error)},
          {"reference", error_json(stage.sides.reference.error)},
          {"rounding_explains", bound_json(stage.bound)},
          {"subject_own", local_json(stage.sides.subject.local)},
          {"reference_own", local_json(stage.sides.reference.local)},
          {"on_same_inputs", local_json(stage.on_same_inputs)},
          {"subject_wrong", stage.sides.subject.wrong},
          {"reference_wrong", stage.sides.reference.wrong}};
}

}  // namespace

Json wrong_json(const Arbitration& arbitration) {
  const compare::Wrong wrong = arbitration.wrong();
  return wrong == compare::Wrong::kUnknown ? Json(nullptr) : Json(compare::wrong_name(wrong));
}

Json arbitration_summary_json(const Arbitration& arbitration) {
  return {{"wrong", wrong_json(arbitration)},
          {"reason", arbitration.reason},
          {"subject_wrong_from", first_wrong_json(arbitration.first_wrong.subject)},
          {"reference_wrong_from", first_wrong_json(arbitration.first_wrong.reference)},
          {"subject_tensors", arbitration.n_held.subject},
          {"reference_tensors", arbitration.n_held.reference},
          {"oracle_tensors", arbitration.stages.size()},
          {"same_inputs_of", arbitration.inputs_of ? Json(compare::side_name(*arbitration.inputs_of)) : Json(nullptr)},
          {"no_same_inputs_because", text_or_null(arbitration.no_same_inputs)}};
}

Json arbitration_json(const Arbitration& arbitration) {
  Json json = arbitration_summary_json(arbitration);
  json["stages"] = Json::array();
  for (const StageArbitration& stage : arbitration.stages) {
    json["stages"].push_back(stage_json(stage));
  }
  return json;
}

Json cause_json(const std::optional<outcome::Cause>& cause) {
  return cause ? Json{{"id", cause->id},
                      {"name", cause->name},
                      {"side", cause->side ? Json(compare::side_name(*cause->side)) : Json(nullptr)},
                      {"confidence", json_number(cause->confidence)},
                      {"evidence", cause->evidence},
                      {"parameters", cause->parameters},
                      {"unexplained", cause->unexplained},
                      {"tried", cause->tried}}
               : Json(nullptr);
}

Json reference_check_json(const outcome::ReferenceCheckResult& result) {
  Json checks = Json::array();
  for (const outcome::ReferenceCheck& check : result.checks) {
    checks.push_back({{"id", check.id},
                      {"question", check.question},
                      {"status", outcome::check_status_name(check.status)},
                      {"evidence", check.evidence}});
  }
  const auto* failed = result.first_failed();
  return {{"trusted", result.trusted()},
          {"failed_check", failed != nullptr ? Json(failed->id) : Json(nullptr)},
          {"arithmetic", text_or_null(result.arithmetic)},
          {"cause", cause_json(result.cause)},
          {"checks", std::move(checks)}};
}

}  // namespace tern::report
