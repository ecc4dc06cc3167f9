// One file per command: it adds its options to the app and, when the user chose it, runs and returns the exit code.
// Errors come back as Error; main() prints their one line and maps them to the contract's exit codes.
#pragma once

#include <functional>

#include "tern/base/error.h"
#include "tern/cli/command_line.h"

namespace tern::cli {

// Set by the chosen command's callback; main() calls it after parsing.
using Action = std::function<Result<int>()>;

void add_bench(Command& app, Action& action);
void add_bisect(Command& app, Action& action);
void add_compare(Command& app, Action& action);
void add_inspect(Command& app, Action& action);
void add_noise(Command& app, Action& action);
void add_oracle_tensor(Command& app, Action& action);
void add_pack(Command& app, Action& action);
void add_reference(Command& app, Action& action);
void add_run(Command& app, Action& action);
void add_selftest(Command& app, Action& action);
void add_sweep(Command& app, Action& action);
void add_synth(Command& app, Action& action);
void add_tokenize(Command& app, Action& action);
void add_validate(Command& app, Action& action);

}  // namespace tern::cli
