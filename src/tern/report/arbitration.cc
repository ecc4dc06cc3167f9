#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <vector>

#include "tern/report/format.h"
#include "tern/report/json_parts.h"
#include "tern/report/report.h"

namespace tern::report {
namespace {

using compare::Arbitration;
using compare::FirstWrong;
using compare::LocalError;
using compare::OracleError;
using compare::Side;
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
          {"rounding_explains", error_json(stage.bound)},
          {"subject_own", local_json(stage.sides.subject.local)},
          {"reference_own", local_json(stage.sides.reference.local)},
          {"on_same_inputs", local_json(stage.on_same_inputs)},
          {"subject_wrong", stage.sides.subject.wrong},
          {"reference_wrong", stage.sides.reference.wrong}};
}

// Stages by one of their figures, the worst first; each stage at its worst tensor. More than `allowance` times the
// noise floor is marked.
std::string ranking_text(const Arbitration& arbitration, std::string_view title, std::string_view column,
                         const std::function<const std::optional<LocalError>&(const StageArbitration&)>& figure_of,
                         double allowance) {
  struct Ranked {
    trace::TensorId id;
    LocalError figure;
  };
  std::map<trace::Stage, Ranked> worst;
  for (const StageArbitration& stage : arbitration.stages) {
    if (const auto& figure = figure_of(stage)) {
      const auto [known, is_new] = worst.try_emplace(stage.id.stage, Ranked{stage.id, *figure});
      if (!is_new && known->second.figure.multiple() < figure->multiple()) {
        known->second = {stage.id, *figure};
      }
    }
  }
  std::vector<Ranked> ranked;
  for (const auto& [stage, tensor] : worst) {
    ranked.push_back(tensor);
  }
  if (ranked.empty()) {
    return {};
  }
  constexpr size_t kMost = 8;
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.figure.multiple() > b.figure.multiple(); });
  ranked.erase(ranked.begin() + static_cast<ptrdiff_t>(std::min(ranked.size(), kMost)), ranked.end());
  std::string out =
      fmt::format("{}\n  {:<28} {:>12} {:>12} {:>10}\n", title, "worst tensor", column, "noise floor", "multiple");
  for (const auto& [id, figure] : ranked) {
    out += fmt::format("{} {:<28} {:>12.3g} {:>12.3g} {:>10.3g}\n", figure.multiple() > allowance ? "!" : " ",
                       id.name(), figure.error.relative, figure.floor.relative, figure.multiple());
  }
  return out;
}

std::string error_cell(const std::optional<OracleError>& error) {
  return error ? fmt::format("{}{:.3g}", error->is_lower_bound ? ">=" : "", error->relative) : kNotMeasured;
}

}  // namespace

Json arbitration_summary_json(const Arbitration& arbitration) {
  return {{"wrong", compare::wrong_name(arbitration.wrong())},
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
                      {"confidence", json_number(cause->confidence)},
                      {"evidence", cause->evidence}}
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
  return {{"trusted", failed == nullptr},
          {"failed_check", failed != nullptr ? Json(failed->id) : Json(nullptr)},
          {"arithmetic", text_or_null(result.arithmetic)},
          {"cause", cause_json(result.cause)},
          {"checks", std::move(checks)}};
}

std::string arbitration_text(const Arbitration& arbitration, const std::optional<outcome::Cause>& cause) {
  std::string out = fmt::format("wrong      {}\n           {}\n", compare::wrong_name(arbitration.wrong()),
                                one_line(arbitration.reason));
  if (cause) {
    out += fmt::format("cause      {} at {} (confidence {:.2f})\n           {}\n", cause->id, cause->name,
                       cause->confidence, one_line(cause->evidence));
  }
  for (const auto& [side, first] : arbitration.first_wrong.both()) {
    if (first.first()) {
      out += ranking_text(
          arbitration,
          fmt::format("{}'s stages by their own errors, each from its recorded inputs", compare::side_name(side)),
          "own error", [side = side](const auto& stage) -> const auto& { return stage.sides.at(side).local; },
          compare::kFloorAllowance);
    }
  }
  if (arbitration.inputs_of) {
    out += ranking_text(
        arbitration,
        fmt::format("both sides' operations on the {}'s inputs: how far apart",
                    compare::side_name(*arbitration.inputs_of)),
        "apart", [](const auto& stage) -> const auto& { return stage.on_same_inputs; }, 2 * compare::kFloorAllowance);
  } else if (!arbitration.no_same_inputs.empty()) {
    out += fmt::format("both sides on the same inputs: not measured: {}\n", one_line(arbitration.no_same_inputs));
  }
  const auto first = arbitration.first_wrong_tensor();
  if (!first) {
    return out;
  }
  out += fmt::format("  {:<28} {:>12} {:>12} {:>18}\n", "relative error of", compare::side_name(Side::kSubject),
                     compare::side_name(Side::kReference), "rounding explains");
  constexpr ptrdiff_t kBefore = 3, kAfter = 3;
  const auto begin = arbitration.stages.begin(), end = arbitration.stages.end();
  const auto at = std::find_if(begin, end, [&](const auto& stage) { return stage.id == *first; });
  for (auto it = at - std::min(kBefore, at - begin); it != at + std::min(kAfter + 1, end - at); ++it) {
    out += fmt::format("{} {:<28} {:>12} {:>12} {:>18.3g}\n", it == at ? ">" : " ", it->id.name(),
                       error_cell(it->sides.subject.error), error_cell(it->sides.reference.error), it->bound.relative);
  }
  return out;
}

}  // namespace tern::report
