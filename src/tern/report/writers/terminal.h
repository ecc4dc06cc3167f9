// What commands print for people on the terminal.
#pragma once

#include <string>

#include "tern/report/view/view.h"

namespace tern::report {

// A row for each scenario, why one failed, and how to reproduce it.
std::string sweep_table(const SweepView& view);

}  // namespace tern::report
