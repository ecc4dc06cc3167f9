// How a sweep shows itself on stderr while it runs: a live line on a terminal, a line per scenario otherwise.
#pragma once

#include <cstddef>
#include <memory>

#include "tern/sweep/sweep.h"

namespace tern::app {

std::unique_ptr<sweep::Progress> make_sweep_progress(size_t n_scenarios, bool on_terminal);

}  // namespace tern::app
