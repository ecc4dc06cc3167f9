// What `tern sweep` prints when it has ended.
#include <fmt/format.h>

#include <algorithm>

#include "tern/report/writers/terminal.h"
#include "tern/trace/level.h"

namespace tern::report {
namespace {

std::string row_of(size_t width, std::string_view name, std::string_view status, std::string_view level,
                   std::string_view tokens, std::string_view cosine, std::string_view tensors,
                   std::string_view traces) {
  return fmt::format("{:<{}}  {:<16}  {:<7}  {:>7}  {:>9}  {:>13}  {:>6}\n", name, width, status, level, tokens, cosine,
                     tensors, traces);
}

std::string row_of(size_t width, const ScenarioView& view) {
  std::string level = kNotMeasured, tokens = kNotMeasured, tensors = kNotMeasured;
  if (const auto& comparison = view.scenario.comparison) {
    level = trace::level_name(comparison->level);
    tokens = fmt::format("{}/{}", comparison->tokens.n_equal, comparison->tokens.n_compared);
    tensors = fmt::format("{}/{}", comparison->n_hash_equal, comparison->coverage.tensors_expected);
  }
  return row_of(width, view.scenario.scenario.name, view.status, level, tokens,
                view.min_cosine ? fmt::format("{:.6f}", *view.min_cosine) : kNotMeasured, tensors,
                std::to_string(view.scenario.sides.subject.n_traces));
}

}  // namespace

std::string sweep_table(const SweepView& view) {
  constexpr std::string_view kScenario = "scenario";
  size_t width = kScenario.size();
  for (const ScenarioView& scenario : view.scenarios) {
    width = std::max(width, scenario.scenario.scenario.name.size());
  }
  std::string out = row_of(width, kScenario, "status", "level", "tokens", "cosine", "equal tensors", "traces");
  for (const ScenarioView& scenario : view.scenarios) {
    out += row_of(width, scenario);
  }
  for (const ScenarioView& scenario : view.scenarios) {
    const std::string& name = scenario.scenario.scenario.name;
    if (scenario.test_result == TestResult::kFailed || scenario.test_result == TestResult::kError) {
      out += fmt::format("{}: {}\n", name, printable(scenario.scenario.reason, 1000));
    }
    if (scenario.first_divergence) {
      out += fmt::format("{}, first divergence: {}\n", name, printable(scenario.first_divergence->name));
    }
    if (const auto& comparison = scenario.scenario.comparison) {
      if (const std::string missing = missing_clause(*comparison); !missing.empty()) {
        out += fmt::format("{}, not compared: {}\n", name, printable(missing, 1000));
      }
    }
    for (const std::string& note : scenario.scenario.notes) {
      out += fmt::format("{}, note: {}\n", name, printable(note, 1000));
    }
    if (!scenario.repro.empty()) {
      out += fmt::format("{}, to reproduce: {}\n", name, scenario.repro);
    }
  }
  return out + fmt::format("Summary: {}\n", (view.sweep.output_dir / "summary.md").string());
}

}  // namespace tern::report
