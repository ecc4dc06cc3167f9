// `tern bisect step`: builds what is checked out here, and says whether it computes what it should.
#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "tern/app/bisect_trial.h"
#include "tern/base/file.h"
#include "tern/base/interrupt.h"
#include "tern/base/json_format.h"
#include "tern/cli/bisect.h"
#include "tern/cli/options.h"

namespace tern::cli {
namespace {

struct StepOptions {
  app::TrialOptions trial;
  std::string build, record, report;
  double build_timeout_s = 3600;
};

// Empty if the build went well; otherwise why not.
Result<std::string> build(const StepOptions& options, const Interrupt& interrupt) {
  ChildCommand command;
  command.argv = {"sh", "-c", options.build};
  command.timeout_s = options.build_timeout_s;
  command.interrupt = &interrupt;
  TERN_ASSIGN_OR_RETURN(const ChildResult ended, run_child(command));
  if (ended.exit_code == 0) {
    return std::string();
  }
  std::fputs(ended.output_tail.c_str(), stderr);
  return ended.timed_out   ? fmt::format("the build did not end within {:g} s", options.build_timeout_s)
         : ended.exit_code ? fmt::format("the build failed with exit code {}", *ended.exit_code)
                           : "the build was killed";
}

Result<app::TrialResult> test_commit(const StepOptions& options, const Interrupt& interrupt) {
  if (!options.build.empty()) {
    TERN_ASSIGN_OR_RETURN(const std::string trouble, build(options, interrupt));
    if (!trouble.empty()) {
      return app::TrialResult{bisect::Outcome::kUntestable, trouble, {}};
    }
  }
  TERN_ASSIGN_OR_RETURN(const app::Trials trials, app::Trials::open(options.trial, interrupt));
  if (!options.record.empty()) {
    TERN_RETURN_IF_ERROR(trials.record(options.record));
    return app::TrialResult{bisect::Outcome::kGood, "recorded as " + options.record, {}};
  }
  return trials.run();
}

Result<int> step(const StepOptions& options) {
  if (options.record.empty() == options.trial.reference.empty()) {
    return fail(ErrorCode::kUsage, "tern bisect step", "needs one of --reference and --record");
  }
  const Interrupt interrupt;
  const Result<app::TrialResult> result = test_commit(options, interrupt);
  if (interrupt.signal() != 0) {
    return 128 + interrupt.signal();
  }
  TERN_RETURN_IF_ERROR(result);
  if (!options.report.empty()) {
    TERN_RETURN_IF_ERROR(write_file(options.report, to_json_text(with_format(Document::kCommand, to_json(*result)))));
  }
  fmt::print("{}: {}\n", bisect::outcome_name(result->outcome), printable(result->reason, 1000));
  switch (result->outcome) {
    case bisect::Outcome::kGood:
      return 0;
    case bisect::Outcome::kBad:
      return 1;
    case bisect::Outcome::kUntestable:
      break;
  }
  return app::kSkipCommit;
}

}  // namespace

void add_bisect_step(Command& group, Action& action) {
  Command* command = group.add_subcommand("step", "The verdict on what is checked out here, for `git bisect run`");
  auto options = std::make_shared<StepOptions>();
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
  command->callback([options, &action] { action = [options] { return step(*options); }; });
}

}  // namespace tern::cli
