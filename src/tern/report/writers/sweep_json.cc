// <output_dir>/sweep.json: everything, every compared tensor included.
#include "tern/report/writers/comparison.h"
#include "tern/report/writers/json_parts.h"
#include "tern/report/writers/writers.h"
#include "tern/trace/run_folder.h"

namespace tern::report {
namespace {

using outcome::Execution;
using outcome::ScenarioOutcome;

Json execution_json(const Execution& execution) {
  if (execution.command.empty() && execution.failure.empty()) {
    return nullptr;  // nothing was run: a pack, or no reference
  }
  return {{"command", execution.command},
          {"environment", execution.environment},
          {"exit_code", count_or_null(execution.exit_code)},
          {"signal", execution.signal ? Json(signal_name(*execution.signal)) : Json(nullptr)},
          {"timed_out", execution.timed_out},
          {"ended_at_difference", execution.ended_at_difference},
          {"timeout_s", json_number(execution.timeout_s)},
          {"wall_s", json_number(execution.wall_s)},
          {"peak_rss_bytes", count_or_null(execution.peak_rss_bytes)},
          {"failure", text_or_null(execution.failure)},
          {"last_tensor", execution.last_tensor ? Json(*execution.last_tensor) : Json(nullptr)}};
}

Json result_json(const std::optional<trace::RunResult>& result) {
  return result ? trace::to_json(*result) : Json(nullptr);
}

Json seen_json(const std::optional<outcome::SeenWhileRunning>& seen) {
  return seen ? Json{{"name", seen->id.name()},
                     {"side", compare::side_name(seen->side)},
                     {"after_s", json_number(seen->after_s)}}
              : Json(nullptr);
}

Json scenario_json(const ScenarioView& view) {
  const ScenarioOutcome& scenario = view.scenario;
  return {
      {"name", scenario.scenario.name},
      {"prompt", scenario.scenario.prompt},
      {"token_ids", scenario.scenario.token_ids.empty() ? Json(nullptr) : Json(scenario.scenario.token_ids)},
      {"max_tokens", scenario.scenario.max_tokens},
      {"description", scenario.scenario.description},
      {"folder", scenario.folder.string()},
      {"status", view.status},
      {"reason", text_or_null(scenario.reason)},
      {"repro", text_or_null(view.repro)},
      {"parity", parity_json(view)},
      {"subject",
       {{"execution", execution_json(scenario.sides.subject.execution)},
        {"result", result_json(scenario.sides.subject.result)},
        {"traces", scenario.sides.subject.n_traces},
        {"logits_dim", count_or_null(scenario.logits_dim)}}},
      {"reference",
       {{"execution", execution_json(scenario.sides.reference.execution)},
        {"result", result_json(scenario.sides.reference.result)},
        {"traces", scenario.sides.reference.n_traces}}},
      {"comparison", scenario.comparison ? comparison_json(*scenario.comparison) : Json(nullptr)},
      {"seen_while_running", seen_json(scenario.seen_while_running)},
      {"arbitration", scenario.arbitration ? arbitration_json(*scenario.arbitration) : Json(nullptr)},
      {"cause", cause_json(scenario.cause)},
      {"recommendations", view.recommendations},
  };
}

Json resumption_json(const outcome::Resumption& resumption) {
  Json sections = Json::array();
  for (const auto& [name, taken_over, n_run] : resumption.sections) {
    sections.push_back({{"of", name}, {"runs_taken_over", taken_over}, {"runs_done", n_run}});
  }
  return {{"sections", std::move(sections)}, {"run_again", resumption.run_again}};
}

}  // namespace

std::string sweep_json(const SweepView& view) {
  const outcome::SweepOutcome& sweep = view.sweep;
  Json scenarios = Json::array();
  for (const ScenarioView& scenario : view.scenarios) {
    scenarios.push_back(scenario_json(scenario));
  }
  return to_json_text(with_format(
      Document::kSweep,
      {
          {"tern_version", sweep.tern_version},
          {"timestamp", sweep.timestamp},
          {"wall_s", json_number(sweep.wall_s)},
          {"exit_code", view.exit_code},
          {"output_dir", sweep.output_dir.string()},
          {"command", sweep.command},
          {"model", model_json(sweep.model)},
          {"tokenizer", tokenizer_json(sweep.tokenizer)},
          {"subject", engine_json(sweep.subject)},
          {"reference", engine_json(sweep.reference)},
          {"reference_check", sweep.reference_check ? reference_check_json(*sweep.reference_check) : Json(nullptr)},
          {"reference_required", sweep.reference_required},
          {"timeout_s", json_number(sweep.timeout_s)},
          {"environment", sweep.environment},
          {"resumed", sweep.resumed ? resumption_json(*sweep.resumed) : Json(nullptr)},
          {"scenarios", std::move(scenarios)},
      }));
}

}  // namespace tern::report
