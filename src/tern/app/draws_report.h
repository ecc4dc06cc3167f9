// How draws are counted and written out. Private to app/draws.cc and its report.
#pragma once

#include <string>

#include "tern/app/draws.h"

namespace tern::app {

// One line of progress: what was drawn, and how it was judged.
std::string line_of(const DrawnRow& row);
std::string line_of(const CleanRow& row);

}  // namespace tern::app
