// `tern pack record`: runs a live engine and makes a pack of what it computed.
#pragma once

#include "tern/cli/command.h"

namespace tern::cli {

// `pack`: the command that this one is a part of.
void add_pack_record(Command& pack, Action& action);

}  // namespace tern::cli
