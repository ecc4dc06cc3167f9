// What to do next, derived from what was measured. Private to view/.
#pragma once

#include <string>
#include <vector>

#include "tern/outcome/sweep_outcome.h"
#include "tern/report/view/figures.h"
#include "tern/trace/stage.h"

namespace tern::report {

// Plain sentences, most important first; at least one. Not escaped for any format.
// `grade`: of the scenario's smallest cosine.
std::vector<std::string> recommendations(const outcome::SweepOutcome& sweep, const outcome::ScenarioOutcome& scenario,
                                         Grade grade);

// What usually makes a stage come out wrong while everything before it is right, and where to look. `is_known_graph`:
// false where the architecture's nodes may have the names of stages and mean something else.
std::string advice_on(const trace::TensorId& id, bool is_known_graph);

}  // namespace tern::report
