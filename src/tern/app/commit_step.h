// One step of a search among commits: builds what is checked out here and says whether it computes what it should.
#pragma once

#include <span>
#include <string>

#include "tern/app/bisect_trial.h"
#include "tern/base/error.h"
#include "tern/base/interrupt.h"
#include "tern/bisect/smallest_set.h"

namespace tern::app {

struct CommitStepOptions {
  TrialOptions trial;
  std::string build;   // a shell command; empty: nothing is built
  std::string record;  // a new folder for a pack of what is computed, in place of a verdict; empty: a verdict
  std::string report;  // a JSON file for the verdict; empty: none
  double build_timeout_s = 3600;
};

struct CommitStep {
  TrialResult result;
  std::string build_output;  // the end of what a build that failed printed
};

// Errors: kUsage unless exactly one of `record` and a reference is given; those of Trials; kIo.
Result<CommitStep> test_commit(const CommitStepOptions& options, const Interrupt& interrupt);

// `git bisect run` takes 0 for a good commit, 125 for one that cannot be tested, 128 and more for an end of the search,
// and everything else for a bad commit.
inline constexpr int kSkipCommit = 125;
inline constexpr int kAbortSearch = 129;
int step_exit_code(bisect::Outcome outcome);

// `arguments`: a command line of tern, its name first; `code`: its exit code. In `tern bisect step` only 1 stands for a
// bad commit: any other failure becomes kAbortSearch, so that no commit is blamed for a wrong option. Other commands
// keep their code.
int exit_code_for_git(std::span<char* const> arguments, int code);

}  // namespace tern::app
