// Our engine as a child process: `tern run`, by the path of the program that is running.
#pragma once

#include <string>

#include "tern/base/error.h"
#include "tern/peer/command_template.h"

namespace tern::cli {

// Greedy, seed 42, no early stop, with the engine contract's files in {out}. Errors: kEngine when our own path cannot
// be found.
Result<peer::CommandTemplate> own_engine_command(bool dump_tensors);

// The words that were typed, for reports.
std::vector<std::string> typed_command();

}  // namespace tern::cli
