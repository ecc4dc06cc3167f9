// One file per command: it adds its options to the app and, when the user chose it, runs and returns the exit code.
// Errors come back as Error; main() prints their one line and maps them to the contract's exit codes.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "tern/base/error.h"

namespace tern::cli {

// Set by the chosen command's callback; main() calls it after parsing.
using Action = std::function<Result<int>()>;

void add_bench(CLI::App& app, Action& action);
void add_bisect(CLI::App& app, Action& action);
void add_compare(CLI::App& app, Action& action);
void add_inspect(CLI::App& app, Action& action);
void add_noise(CLI::App& app, Action& action);
void add_pack(CLI::App& app, Action& action);
void add_reference(CLI::App& app, Action& action);
void add_run(CLI::App& app, Action& action);
void add_selftest(CLI::App& app, Action& action);
void add_sweep(CLI::App& app, Action& action);
void add_synth(CLI::App& app, Action& action);
void add_tokenize(CLI::App& app, Action& action);
void add_validate(CLI::App& app, Action& action);

}  // namespace tern::cli
