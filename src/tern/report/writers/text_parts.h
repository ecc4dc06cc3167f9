// Pieces that plain-text reports share. Private to writers/.
#pragma once

#include <string>

#include "tern/report/view/comparison_view.h"

namespace tern::report {

// Tables with their columns aligned, `!` or `>` before the marked rows; empty where they have no rows.
std::string tensor_table(const MarkedTable& table);

}  // namespace tern::report
