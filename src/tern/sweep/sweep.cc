#include "tern/sweep/sweep.h"

#include "tern/base/check.h"
#include "tern/base/stopwatch.h"
#include "tern/sweep/scenario_run.h"

namespace tern::sweep {
namespace fs = std::filesystem;
namespace {

using outcome::ScenarioOutcome;

// A command says only in its result what engine it is.
void note_reference_engine(outcome::SweepOutcome& sweep, const ScenarioOutcome& scenario) {
  if (sweep.reference.engine.empty() && scenario.sides.reference.result) {
    sweep.reference.engine = scenario.sides.reference.result->engine;
  }
}

}  // namespace

Status run_sweep(const SweepPlan& plan, OutputFolder& output, const ReportWriter& write_reports, Progress& progress,
                 outcome::SweepOutcome& outcome) {
  TERN_CHECK(plan.subject != nullptr);
  const Stopwatch stopwatch;
  for (size_t index = 0; index < plan.scenarios.size() && !is_interrupted(plan); ++index) {
    const std::string& name = plan.scenarios[index].name;
    const fs::path final_path = output.path() / name;
    if (plan.kept_runs != nullptr) {
      plan.kept_runs->enter(name);
    }
    TERN_ASSIGN_OR_RETURN(const fs::path partial, output.begin(name));
    TERN_ASSIGN_OR_RETURN(std::optional<ScenarioOutcome> scenario,
                          run_scenario(plan, index, partial, final_path, progress));
    if (!scenario) {
      output.discard();
      break;
    }
    note_reference_engine(outcome, *scenario);
    TERN_RETURN_IF_ERROR(write_reports(outcome, *scenario, partial));
    TERN_RETURN_IF_ERROR(output.commit());
    progress.finished(index, *scenario);
    outcome.scenarios.push_back(std::move(*scenario));
  }
  outcome.wall_s = stopwatch.seconds();
  return {};
}

}  // namespace tern::sweep
