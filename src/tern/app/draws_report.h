// How draws are counted and written out. Private to app/draws.cc and its report.
#pragma once

#include <string>

#include "tern/app/draws.h"

namespace tern::app {

// One line for people who wait: what was drawn, and what the judge made of it.
std::string line_of(const DrawnRow& row);
std::string line_of(const CleanRow& row);

}  // namespace tern::app
