// A second checkout of a repository, for as long as an object lives. The first one stays as it is.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tern/base/error.h"

namespace tern::app {

struct GitOutput {
  int exit_code = -1;  // -1: a signal ended it
  std::string text;    // stdout and stderr, without the last line feed
};

// Runs git in English and without the repository's hooks, which were not made for such a checkout. `scratch` holds its
// output while it runs. Errors: kEngine where there is no git.
Result<GitOutput> run_git(const std::filesystem::path& folder, const std::vector<std::string>& words,
                          const std::filesystem::path& scratch);

class GitWorktree {
 public:
  // `scratch`/worktree, with this commit checked out. Errors: kIo with git's words.
  static Result<std::unique_ptr<GitWorktree>> add(const std::filesystem::path& repository, const std::string& commit,
                                                  const std::filesystem::path& scratch);
  // Removes it, and its entry in the repository with the state of `git bisect`.
  ~GitWorktree();
  GitWorktree(const GitWorktree&) = delete;
  GitWorktree& operator=(const GitWorktree&) = delete;

  std::filesystem::path path() const { return scratch_ / "worktree"; }
  Result<GitOutput> run(const std::vector<std::string>& words) const;
  // What it printed. Errors: kIo with git's words where it fails.
  Result<std::string> git(const std::vector<std::string>& words) const;

 private:
  GitWorktree(std::filesystem::path repository, std::filesystem::path scratch)
      : repository_(std::move(repository)), scratch_(std::move(scratch)) {}
  std::filesystem::path repository_, scratch_;
};

}  // namespace tern::app
