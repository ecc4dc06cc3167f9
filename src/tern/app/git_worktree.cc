#include "tern/app/git_worktree.h"

#include "tern/base/child_process.h"
#include "tern/base/file.h"

namespace tern::app {
namespace fs = std::filesystem;
namespace {

Result<std::string> checked(const std::vector<std::string>& words, Result<GitOutput> output) {
  TERN_RETURN_IF_ERROR(output);
  if (output->exit_code != 0) {
    return fail(ErrorCode::kIo, "git " + words.front(), output->text.empty() ? "failed" : output->text);
  }
  return std::move(output->text);
}

}  // namespace

Result<GitOutput> run_git(const fs::path& folder, const std::vector<std::string>& words, const fs::path& scratch) {
  ChildCommand command;
  command.argv = {"git", "-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false"};
  command.argv.insert(command.argv.end(), words.begin(), words.end());
  command.environment = {{"LC_ALL", "C"}, {"GIT_TERMINAL_PROMPT", "0"}};
  command.unset_environment = {"GIT_*"};
  command.working_dir = folder;
  command.output_path = scratch / "git-output";
  command.timeout_s = 600;
  TERN_ASSIGN_OR_RETURN(const ChildResult ended, run_child(command));
  TERN_ASSIGN_OR_RETURN(std::string text, read_file(command.output_path, uint64_t{64} << 20));
  while (text.ends_with('\n')) {
    text.pop_back();
  }
  return GitOutput{ended.exit_code.value_or(-1), std::move(text)};
}

Result<std::unique_ptr<GitWorktree>> GitWorktree::add(const fs::path& repository, const std::string& commit,
                                                      const fs::path& scratch) {
  // The object comes first: its destructor removes what a git that fails half-way has left.
  std::unique_ptr<GitWorktree> worktree(new GitWorktree(repository, scratch));
  const std::vector<std::string> words = {"worktree", "add", "--quiet", "--detach", worktree->path().string(), commit};
  TERN_RETURN_IF_ERROR(checked(words, run_git(repository, words, scratch)));
  return worktree;
}

GitWorktree::~GitWorktree() {
  // The second --force removes a locked worktree, too.
  static_cast<void>(run_git(repository_, {"worktree", "remove", "--force", "--force", path().string()}, scratch_));
  std::error_code ignored;
  if (fs::exists(path(), ignored)) {  // with a submodule in it, for one, git refuses
    fs::remove_all(path(), ignored);
    static_cast<void>(run_git(repository_, {"worktree", "prune"}, scratch_));
  }
}

Result<GitOutput> GitWorktree::run(const std::vector<std::string>& words) const {
  return run_git(path(), words, scratch_);
}

Result<std::string> GitWorktree::git(const std::vector<std::string>& words) const { return checked(words, run(words)); }

}  // namespace tern::app
