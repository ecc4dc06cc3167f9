// The commands of `tern bisect`, and the exit codes that `git bisect run` takes.
#pragma once

#include <span>

#include "tern/cli/command.h"

namespace tern::cli {

void add_bisect_commits(Command& group, Action& action);
void add_bisect_models(Command& group, Action& action);
void add_bisect_settings(Command& group, Action& action);
void add_bisect_step(Command& group, Action& action);

// In `tern bisect step` only 1 stands for a bad commit: any other failure becomes app::kAbortSearch, so that no commit
// is blamed for a wrong option. Other commands keep their code.
int exit_code_for_git(std::span<char* const> arguments, int code);

}  // namespace tern::cli
