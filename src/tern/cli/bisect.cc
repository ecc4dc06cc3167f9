#include "tern/cli/bisect.h"

namespace tern::cli {

void add_bisect(Command& app, Action& action) {
  Command* group = app.add_subcommand("bisect", "Find the commit, the setting or the tensor that made an engine wrong");
  group->require_subcommand(1);
  group->footer(
      "Example: tern bisect commits --good v1.0 --bad HEAD --build 'make -j2' \\\n"
      "           --subject 'command:./engine' --model m.gguf\n"
      "Example: tern bisect settings --set TERN_ISA=scalar,avx2 --set threads=1,4 --model m.gguf\n"
      "Example: tern bisect models good.gguf bad.gguf");
  add_bisect_commits(*group, action);
  add_bisect_settings(*group, action);
  add_bisect_models(*group, action);
  add_bisect_step(*group, action);
}

}  // namespace tern::cli
