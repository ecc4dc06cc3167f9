// The commands of `tern bisect`, and what `git bisect run` has to hear from one of them.
#pragma once

#include <span>

#include "tern/cli/command.h"

namespace tern::cli {

void add_bisect_commits(Command& group, Action& action);
void add_bisect_models(Command& group, Action& action);
void add_bisect_settings(Command& group, Action& action);
void add_bisect_step(Command& group, Action& action);

// `git bisect run` takes 0 for a good commit, 125 for one that cannot be tested, and everything else below 128 for a
// bad one. In `tern bisect step` only 1 is that: whatever else went wrong becomes kAbort, which ends the search, so
// that no commit is blamed for a wrong option. Other commands keep their code.
inline constexpr int kSkipCommit = 125;
inline constexpr int kAbort = 129;
int exit_code_for_git(std::span<char* const> arguments, int code);

}  // namespace tern::cli
