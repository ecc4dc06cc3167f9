// The first commit of a repository whose engine computes other results than before. `git bisect` does the search, in a
// worktree of its own, so that the user's checkout stays as it is; `tern bisect step` tries each commit.
#pragma once

#include <string>
#include <vector>

#include "tern/app/bisect_trial.h"
#include "tern/base/error.h"
#include "tern/base/interrupt.h"
#include "tern/base/json.h"

namespace tern::app {

struct CommitsOptions {
  TrialOptions trial;
  std::string good, bad, repository = ".", build;
  double build_timeout_s = 3600;
};

struct TriedCommit {
  std::string commit, title;
  TrialResult result;
};
struct FoundCommits {
  std::vector<std::string> candidates;  // one: the first bad commit; several: those between could not be tested
  std::vector<TriedCommit> tried;
  std::vector<std::string> shown;  // of each candidate: hash, author, date and title, for a terminal
  const TriedCommit* find(const std::string& commit) const;  // null where it was not tried
};

// Progress goes to the log. Errors: kUsage for a revision or an engine that cannot be; kNoVerdict where the good commit
// is not good or the bad one not bad; kIo; kEngine when interrupted.
Result<FoundCommits> find_commits(const CommitsOptions& options, const Interrupt& interrupt);

std::string commits_text(const FoundCommits& found);
Json to_json(const FoundCommits& found);

}  // namespace tern::app
