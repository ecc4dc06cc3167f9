#include "tern/cli/command.h"

namespace tern::cli {
void add_pack(CLI::App&, Action&) {}  // to be written
}  // namespace tern::cli
