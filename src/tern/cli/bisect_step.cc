// `tern bisect step`
#include <fmt/format.h>

#include <memory>

#include "tern/app/commit_step.h"
#include "tern/app/until_interrupted.h"
#include "tern/base/print.h"
#include "tern/cli/bisect.h"
#include "tern/cli/options.h"

namespace tern::cli {
namespace {

Result<int> step(const app::CommitStepOptions& options, const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(const app::CommitStep step, app::test_commit(options, interrupt));
  print_err(step.build_output);
  if (interrupt.signal() == 0) {
    print_out(fmt::format("{}: {}\n", bisect::outcome_name(step.result.outcome), printable(step.result.reason, 1000)));
  }
  return app::step_exit_code(step.result.outcome);
}

}  // namespace

void add_bisect_step(Command& group, Action& action) {
  Command* command = group.add_subcommand("step", "The verdict on what is checked out here, for `git bisect run`");
  auto options = std::make_shared<app::CommitStepOptions>();
  command->add_option("--model", options->trial.model, "The GGUF model")->required();
  command
      ->add_option("--subject", options->trial.subject,
                   "The engine as this commit builds it: command:'PROGRAM ARGUMENTS', bitnet.cpp:DIR, llama.cpp:DIR")
      ->required();
  add_trial_options(*command, options->trial);
  command->add_option("--build", options->build, "A shell command that builds it first; where it fails: 125");
  command->add_option("--build-timeout", options->build_timeout_s, "Seconds for that")
      ->check(positive_number())
      ->capture_default_str();
  command->add_option("--record", options->record,
                      "No verdict: keep what is computed as a pack in this new folder, to be the others' reference");
  command->add_option("--report", options->report, "Also write the verdict to this file, as JSON");
  command->footer(
      "Exit codes, made for git: 0 good, 1 bad, 125 cannot be tested (it does not build, crashes or gives nothing\n"
      "that can be compared); 129, which ends the search, where the fault is not the commit's: a wrong option, an\n"
      "unreadable model or reference. Ctrl-C: 130.\n"
      "Example: git bisect start BAD GOOD && git bisect run tern bisect step --build 'make -j2' \\\n"
      "           --subject 'command:./engine' --model m.gguf --reference pack:/path/to/reference");
  command->callback([options, &action] {
    action = [options] { return app::until_interrupted([&](const Interrupt& i) { return step(*options, i); }); };
  });
}

}  // namespace tern::cli
