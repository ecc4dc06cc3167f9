// The commands of `tern bisect`.
#pragma once

#include "tern/cli/command.h"

namespace tern::cli {

void add_bisect_commits(Command& group, Action& action);
void add_bisect_models(Command& group, Action& action);
void add_bisect_settings(Command& group, Action& action);
void add_bisect_step(Command& group, Action& action);

}  // namespace tern::cli
