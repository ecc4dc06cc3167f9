#include "tern/cli/bisect.h"

#include <string_view>

#include "tern/app/commit_step.h"

namespace tern::cli {

int exit_code_for_git(std::span<char* const> arguments, int code) {
  const bool is_step =
      arguments.size() > 2 && std::string_view(arguments[1]) == "bisect" && std::string_view(arguments[2]) == "step";
  const bool is_for_git = code == 0 || code == 1 || code == app::kSkipCommit || code >= 128;
  return !is_step || is_for_git ? code : app::kAbortSearch;
}

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
