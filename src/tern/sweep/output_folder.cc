#include "tern/sweep/output_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "tern/base/check.h"
#include "tern/base/file.h"

namespace tern::sweep {
namespace fs = std::filesystem;
namespace {

constexpr const char* kPartialMark = ".partial-";
constexpr const char* kReplacedMark = ".replaced-";

Status io_error(const fs::path& path, const std::string& what, const std::error_code& error) {
  return fail(ErrorCode::kIo, path.string(), fmt::format("{}: {}", what, error.message()));
}

Status check_replaceable(const fs::path& folder) {
  std::error_code error;
  if (fs::symlink_status(folder, error).type() == fs::file_type::not_found) {
    return {};
  }
  const bool ours =
      fs::is_directory(folder, error) && (fs::exists(folder / "report.txt", error) || fs::is_empty(folder, error));
  if (!ours) {
    return fail(ErrorCode::kIo, folder.string(), "is in the way and was not made by a sweep (it has no report.txt)",
                "choose another output directory or move it away");
  }
  return {};
}

// Only of these scenarios, and only while the folder is locked: their makers are gone.
void remove_leftovers(const fs::path& path, const std::vector<std::string>& scenario_names) {
  std::error_code error;
  std::vector<fs::path> leftovers;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename();
    for (const std::string& scenario : scenario_names) {
      if (name.starts_with("." + scenario + kPartialMark) || name.starts_with("." + scenario + kReplacedMark)) {
        leftovers.push_back(it->path());
      }
    }
  }
  for (const fs::path& leftover : leftovers) {
    fs::remove_all(leftover, error);
  }
}

}  // namespace

Result<OutputFolder> OutputFolder::open(const fs::path& path, const std::vector<std::string>& scenario_names) {
  for (const std::string& name : scenario_names) {
    TERN_RETURN_IF_ERROR(check_replaceable(path / name));
  }
  std::error_code error;
  const bool existed = fs::exists(path, error);
  TERN_RETURN_IF_ERROR(create_folder(path));
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    return fail(ErrorCode::kIo, path.string(), fmt::format("cannot be opened: {}", std::strerror(errno)));
  }
  OutputFolder folder(path, fd, !existed);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    return fail(ErrorCode::kIo, path.string(), "another sweep is writing here", "wait for it or choose another folder");
  }
  // Whether it can be written is found out by writing: permission bits do not tell (root, read-only mounts).
  const fs::path probe = path / fmt::format(".tern-probe-{}", ::getpid());
  fs::create_directory(probe, error);
  if (error) {
    return tl::unexpected(io_error(path, "cannot be written", error).error());
  }
  fs::remove(probe, error);
  remove_leftovers(path, scenario_names);
  return folder;
}

OutputFolder::OutputFolder(OutputFolder&& other) noexcept
    : path_(std::move(other.path_)),
      lock_fd_(std::exchange(other.lock_fd_, -1)),
      created_(std::exchange(other.created_, false)),
      scenario_(std::exchange(other.scenario_, {})),
      partial_(std::exchange(other.partial_, {})) {}

OutputFolder::~OutputFolder() {
  if (lock_fd_ < 0) {
    return;
  }
  discard();
  if (created_) {
    ::rmdir(path_.c_str());  // fails, as it should, when something is in it
  }
  ::close(lock_fd_);
}

Result<fs::path> OutputFolder::begin(const std::string& scenario_name) {
  TERN_CHECK(scenario_.empty());
  partial_ = path_ / fmt::format(".{}{}{}", scenario_name, kPartialMark, ::getpid());
  std::error_code error;
  fs::create_directory(partial_, error);
  if (error) {
    return tl::unexpected(io_error(partial_, "cannot be created", error).error());
  }
  scenario_ = scenario_name;
  return partial_;
}

Status OutputFolder::commit() {
  TERN_CHECK(!scenario_.empty());
  const fs::path final_path = path_ / scenario_;
  const fs::path replaced = path_ / fmt::format(".{}{}{}", scenario_, kReplacedMark, ::getpid());
  std::error_code error;
  for (const char* summary : {"summary.md", "sweep.json", "junit.xml", "report.html"}) {
    fs::remove(path_ / summary, error);
  }
  const bool replaces = fs::symlink_status(final_path, error).type() != fs::file_type::not_found;
  error.clear();
  if (replaces) {
    fs::rename(final_path, replaced, error);
  }
  if (!error) {
    fs::rename(partial_, final_path, error);
  }
  if (error) {
    return io_error(final_path, "cannot be put in place", error);
  }
  scenario_.clear();
  fs::remove_all(replaced, error);
  return {};
}

void OutputFolder::discard() {
  if (!std::exchange(scenario_, {}).empty()) {
    std::error_code error;
    fs::remove_all(partial_, error);
  }
}

}  // namespace tern::sweep
