#include "tern/app/commit_step.h"

#include <fmt/format.h>

#include <string_view>

#include "tern/base/child_process.h"
#include "tern/base/file.h"
#include "tern/base/json_format.h"

namespace tern::app {
namespace {

Result<CommitStep> build_and_test(const CommitStepOptions& options, const Interrupt& interrupt) {
  if (!options.build.empty()) {
    ChildCommand command;
    command.argv = {"sh", "-c", options.build};
    command.timeout_s = options.build_timeout_s;
    command.interrupt = &interrupt;
    TERN_ASSIGN_OR_RETURN(const ChildResult ended, run_child(command));
    if (ended.exit_code != 0) {
      const std::string trouble = ended.timed_out   ? fmt::format("did not end within {:g} s", options.build_timeout_s)
                                  : ended.exit_code ? fmt::format("failed with exit code {}", *ended.exit_code)
                                                    : "was killed";
      return CommitStep{{bisect::Outcome::kUntestable, "the build " + trouble, {}}, ended.output_tail};
    }
  }
  TERN_ASSIGN_OR_RETURN(const Trials trials, Trials::open(options.trial, interrupt));
  if (!options.record.empty()) {
    TERN_RETURN_IF_ERROR(trials.record(options.record));
    return CommitStep{{bisect::Outcome::kGood, "recorded as " + options.record, {}}, {}};
  }
  TERN_ASSIGN_OR_RETURN(TrialResult result, trials.run());
  return CommitStep{std::move(result), {}};
}

}  // namespace

Result<CommitStep> test_commit(const CommitStepOptions& options, const Interrupt& interrupt) {
  if (options.record.empty() == options.trial.reference.empty()) {
    return fail(ErrorCode::kUsage, "tern bisect step", "needs one of --reference and --record");
  }
  TERN_ASSIGN_OR_RETURN(CommitStep step, build_and_test(options, interrupt));
  if (!options.report.empty() && interrupt.signal() == 0) {
    TERN_RETURN_IF_ERROR(
        write_file(options.report, to_json_text(with_format(Document::kCommand, to_json(step.result)))));
  }
  return step;
}

int step_exit_code(bisect::Outcome outcome) {
  return outcome == bisect::Outcome::kGood ? 0 : outcome == bisect::Outcome::kBad ? 1 : kSkipCommit;
}

int exit_code_for_git(std::span<char* const> arguments, int code) {
  const bool is_step =
      arguments.size() > 2 && std::string_view(arguments[1]) == "bisect" && std::string_view(arguments[2]) == "step";
  const bool is_for_git = code == 0 || code == 1 || code == kSkipCommit || code >= 128;
  return !is_step || is_for_git ? code : kAbortSearch;
}

}  // namespace tern::app
