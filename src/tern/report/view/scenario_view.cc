#include <fmt/format.h>

#include "tern/report/view/parts.h"
#include "tern/report/view/recommendations.h"
#include "tern/report/view/shell.h"
#include "tern/trace/level.h"

namespace tern::report {
namespace {

using compare::Side;
using outcome::ParityStatus;
using outcome::ScenarioOutcome;
using outcome::SweepOutcome;

TestResult test_result_of(const SweepOutcome& sweep, ParityStatus status) {
  switch (status) {
    case ParityStatus::kOk:
      return TestResult::kPassed;
    case ParityStatus::kRustOnly:
      return sweep.reference_required ? TestResult::kError : TestResult::kSkipped;
    case ParityStatus::kDiverged:
      return TestResult::kFailed;
    case ParityStatus::kReferenceFailed:
    case ParityStatus::kMistrusted:
    case ParityStatus::kSubjectFailed:
    case ParityStatus::kMachineFailed:
      break;
  }
  return TestResult::kError;
}

std::string repro_of(const SweepOutcome& sweep, const std::string& scenario_name) {
  if (sweep.repro.command.empty()) {
    return {};
  }
  outcome::ReproCommand alone = sweep.repro;
  const std::string folder = fmt::format("{}-{}-repro", sweep.repro.output_dir.string(), scenario_name);
  alone.command.insert(alone.command.end(), {folder, "--only", scenario_name});
  return shell_line(alone);
}

std::string compare_line_of(const SweepOutcome& sweep, const ScenarioOutcome& scenario) {
  if (!scenario.sides.subject.result || !scenario.sides.reference.result) {
    return {};
  }
  // A pack is its own record; an engine's run was kept beside the subject's (sweep/sweep.h).
  const std::string& pack = sweep.reference.pack_folder;
  const std::string reference = pack.empty() ? (scenario.folder / file_of(Side::kReference, "run")).string() : pack;
  const std::string tern = sweep.command.empty() ? "tern" : sweep.command.front();
  return shell_line({}, {tern, "compare", (scenario.folder / file_of(Side::kSubject, "run")).string(), reference});
}

std::vector<Command> commands_of(const ScenarioView& view) {
  std::vector<Command> commands;
  if (!view.repro.empty()) {
    commands.push_back({"This scenario alone, into a folder of its own", view.repro});
  }
  for (const auto& [side, of_side] : view.scenario.sides.both()) {
    if (!of_side.execution.command.empty()) {
      commands.push_back({fmt::format("The {}'s run alone", compare::side_name(side)),
                          shell_line(of_side.execution.environment, of_side.execution.command)});
    }
  }
  if (!view.compare_line.empty()) {
    commands.push_back({"Every tensor of both sides", view.compare_line});
  }
  return commands;
}

// Where the scenario's row says it first diverges.
Span first_divergence_cell(const ScenarioView& view) {
  if (!view.scenario.comparison) {
    return {kNotMeasured};
  }
  if (!view.first_divergence) {
    return {"none"};
  }
  return {view.first_divergence->name, view.first_divergence->is_tensor};
}

std::string compared_sentence(const ScenarioOutcome& scenario) {
  if (!scenario.comparison) {
    return {};
  }
  const compare::RunComparison& c = *scenario.comparison;
  const std::string missing = c.missing.empty() ? "" : fmt::format(" ({})", missing_clause(c));
  return fmt::format("level {}: {} of {} tensors compared{}, {} equal by hash, held to {}", trace::level_name(c.level),
                     c.coverage.tensors_compared, c.coverage.tensors_expected, missing, c.n_hash_equal,
                     c.exact ? "equal hashes" : "tolerances");
}

void measure(const ScenarioOutcome& scenario, ScenarioView& view) {
  if (!scenario.comparison) {
    return;
  }
  const compare::RunComparison& c = *scenario.comparison;
  view.tokens = c.free_running ? &*c.free_running : &c.tokens;
  view.exact_match_rate = view.tokens->exact_match_rate;
  if (c.logits) {
    view.min_cosine = c.logits->min_cosine;
    view.mean_cosine = c.logits->mean_cosine;
  }
  view.grade = grade_of(view.min_cosine, c.cosine_grades);
  view.first_divergence = divergence_of(c);
}

}  // namespace

bool has_reference(const SweepOutcome& sweep) { return sweep.reference.is_there; }

std::string file_of(Side side, std::string_view what) { return fmt::format("{}-{}", compare::file_prefix(side), what); }

ScenarioView view_of(const SweepOutcome& sweep, const ScenarioOutcome& scenario) {
  ScenarioView view(sweep, scenario);
  const auto& [subject, reference] = scenario.sides;
  view.status = outcome::parity_status_name(scenario.status);
  const bool permitted = scenario.status == ParityStatus::kRustOnly && !sweep.reference_required;
  view.needs_attention = scenario.status != ParityStatus::kOk && !permitted;
  view.mark = view.needs_attention ? Mark::kFail : permitted ? Mark::kInfo : Mark::kPass;
  view.test_result = test_result_of(sweep, scenario.status);
  view.seconds = subject.execution.wall_s + reference.execution.wall_s;
  view.reference_was_there = has_reference(sweep) && scenario.status != ParityStatus::kRustOnly;
  view.reference_left_files = reference.result.has_value() || !reference.execution.command.empty();
  measure(scenario, view);
  view.recommendations = recommendations(sweep, scenario, view.grade);
  view.compare_line = compare_line_of(sweep, scenario);
  if (view.needs_attention) {
    view.repro = repro_of(sweep, scenario.scenario.name);
    view.commands = commands_of(view);
  }
  view.subject_ending = ending_of(subject.execution);
  view.first_divergence_cell = first_divergence_cell(view);
  view.sections = sections_of(view);
  view.compared = compared_sentence(scenario);
  for (const auto& [name, value] : sweep.environment) {
    view.environment.push_back({name, value});
  }
  view.environment.push_back({"tern", sweep.tern_version});
  view.environment.push_back({"Started", sweep.timestamp});
  return view;
}

}  // namespace tern::report
