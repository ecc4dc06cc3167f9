// `tern bisect commits`

#include <memory>

#include "tern/app/commits_search.h"
#include "tern/app/until_interrupted.h"
#include "tern/base/json_format.h"
#include "tern/base/print.h"
#include "tern/cli/bisect.h"
#include "tern/cli/options.h"

namespace tern::cli {
namespace {

struct CommitsOptions : app::CommitsOptions {
  bool json = false;
};

Result<int> search(const CommitsOptions& options, const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(const app::FoundCommits found, app::find_commits(options, interrupt));
  print_out(options.json ? to_json_text(with_format(Document::kCommand, app::to_json(found)))
                         : app::commits_text(found));
  return found.candidates.size() == 1 ? 0 : exit_code(ErrorCode::kNoVerdict);
}

}  // namespace

void add_bisect_commits(Command& group, Action& action) {
  Command* command =
      group.add_subcommand("commits", "Find the first commit whose engine computes other than the good one's");
  auto options = std::make_shared<CommitsOptions>();
  command->add_option("--good", options->good, "A revision that computes what it should")->required();
  command->add_option("--bad", options->bad, "A later one that does not")->required();
  command->add_option("--repo", options->repository, "The engine's repository; its checkout is not touched")
      ->capture_default_str();
  command->add_option("--build", options->build, "A shell command that builds a commit, started in its top folder");
  command->add_option("--build-timeout", options->build_timeout_s, "Seconds for that")
      ->check(positive_number())
      ->capture_default_str();
  command->add_option("--model", options->trial.model, "The GGUF model")->required();
  command
      ->add_option("--subject", options->trial.subject,
                   "What a commit builds, seen from its top folder: command:'./engine', bitnet.cpp:., llama.cpp:.")
      ->required();
  add_trial_options(*command, options->trial);
  command->add_flag("--json", options->json, "As JSON");
  command->footer(
      "The commits are checked out in a temporary git worktree, one after the other; submodules are the build's\n"
      "matter (--build 'git submodule update --init && make'). A commit that cannot be tested is passed over.\n"
      "Exit codes: 0 found, 2 no such revision, 3 unreadable, 5 the good one is not good, the bad one not bad, or too\n"
      "many could not be tested.\n"
      "Example: tern bisect commits --good v1.0 --bad HEAD --build 'make -j2' \\\n"
      "           --subject 'command:./engine' --model m.gguf");
  command->callback([options, &action] {
    action = [options] { return app::until_interrupted([&](const Interrupt& i) { return search(*options, i); }); };
  });
}

}  // namespace tern::cli
