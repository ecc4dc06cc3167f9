// Pieces that views are made from. Private to view/.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tern/report/view/view.h"

namespace tern::report {

// Whether the sweep was given one, or found one.
bool has_reference(const outcome::SweepOutcome& sweep);

// "rs-traces"
std::string file_of(compare::Side side, std::string_view what);

// `view`: all but its sections.
std::vector<Section> sections_of(const ScenarioView& view);

}  // namespace tern::report
