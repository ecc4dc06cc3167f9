#include "tern/cli/command.h"

namespace tern::cli {
void add_run(CLI::App&, Action&) {}  // to be written
}  // namespace tern::cli
