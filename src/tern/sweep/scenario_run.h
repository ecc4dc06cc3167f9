// One scenario of a sweep: its engines run, and their runs are judged (arbiter/judgement.h). Private to sweep/.
#pragma once

#include <filesystem>
#include <optional>

#include "tern/sweep/sweep.h"

namespace tern::sweep {

bool is_interrupted(const SweepPlan& plan);

// Everything is written below `partial`, which becomes `final_path` afterwards. nullopt: interrupted. Errors: those
// of run_sweep().
Result<std::optional<outcome::ScenarioOutcome>> run_scenario(const SweepPlan& plan, size_t index,
                                                             const std::filesystem::path& partial,
                                                             const std::filesystem::path& final_path,
                                                             Progress& progress);

}  // namespace tern::sweep
