#include "tern/sweep/output_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "tern/base/check.h"
#include "tern/base/file.h"
#include "tern/report/writers/writers.h"

namespace tern::sweep {
namespace fs = std::filesystem;
namespace {

constexpr const char* kPartialMark = ".partial-";
constexpr const char* kReplacedMark = ".replaced-";

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> entries;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    entries.push_back(it->path());
  }
  return entries;
}

bool is_report(std::string_view name, report::Writer::Scope scope) {
  const auto writers = report::writers();
  return std::any_of(writers.begin(), writers.end(),
                     [&](const auto& writer) { return writer.scope() == scope && writer.file == name; });
}

// The first entry of a scenario folder that no sweep has written; empty if there is none.
std::string foreign_entry(const fs::path& folder) {
  for (const fs::path& entry : entries_of(folder)) {
    const std::string name = entry.filename();
    const bool ours = is_report(name, report::Writer::Scope::kScenario) || name.ends_with("-run") ||
                      name.ends_with("-traces") || name.ends_with("-output.txt");
    if (!ours) {
      return name;
    }
  }
  return {};
}

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::symlink_status(path, error).type() == fs::file_type::regular;
}

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::symlink_status(path, error).type() == fs::file_type::directory;
}

bool is_missing(const fs::path& path) {
  std::error_code error;
  return fs::symlink_status(path, error).type() == fs::file_type::not_found;
}

Status check_replaceable(const fs::path& folder) {
  if (is_missing(folder) || (is_folder(folder) && entries_of(folder).empty())) {
    return {};
  }
  constexpr const char* kHint = "choose another output directory or move it away";
  if (!is_folder(folder) || !is_file(folder / "report.txt")) {
    return fail(ErrorCode::kIo, folder.string(), "is in the way and was not made by a sweep (it has no report.txt)",
                kHint);
  }
  if (const std::string name = foreign_entry(folder); !name.empty()) {
    return fail(ErrorCode::kIo, (folder / name).string(),
                "would be lost with the earlier sweep's folder, and was not made by a sweep", kHint);
  }
  return {};
}

bool is_earlier_scenario(const fs::path& path) {
  return is_folder(path) && is_file(path / "report.txt") && is_file(path / "logits-comparison.json") &&
         foreign_entry(path).empty();
}

// Only of these scenarios, and only while the folder is locked: their makers are gone.
void clear_up_after_killed_sweep(const fs::path& path, const std::vector<std::string>& scenario_names) {
  std::error_code error;
  for (const fs::path& entry : entries_of(path)) {
    const std::string name = entry.filename();
    for (const std::string& scenario : scenario_names) {
      const bool was_replaced = name.starts_with("." + scenario + kReplacedMark);
      if (was_replaced && is_missing(path / scenario)) {
        fs::rename(entry, path / scenario, error);
      } else if (was_replaced || name.starts_with("." + scenario + kPartialMark)) {
        fs::remove_all(entry, error);
      }
    }
  }
}

}  // namespace

std::string with_other_folder(std::string text, const fs::path& from, const fs::path& to) {
  const std::string old_path = fs::absolute(from).string();
  const std::string new_path = fs::absolute(to).string();
  for (size_t at = text.find(old_path); at != std::string::npos; at = text.find(old_path, at + new_path.size())) {
    text.replace(at, old_path.size(), new_path);
  }
  return text;
}

Result<OutputFolder> OutputFolder::open(const fs::path& path, const std::vector<std::string>& scenario_names) {
  if (path.empty()) {
    return fail(ErrorCode::kUsage, "the output directory", "is an empty word", "name a folder, or leave it out");
  }
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
  OutputFolder folder(path, scenario_names, fd, !existed);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    return fail(ErrorCode::kIo, path.string(), "another sweep is writing here", "wait for it or choose another folder");
  }
  // Whether it can be written is found out by writing: permission bits are not enough (root, read-only mounts).
  const fs::path probe = path / fmt::format(".tern-probe-{}", ::getpid());
  fs::create_directory(probe, error);
  if (error) {
    return io_error(path, "cannot be written", error);
  }
  fs::remove(probe, error);
  clear_up_after_killed_sweep(path, scenario_names);
  return folder;
}

OutputFolder::OutputFolder(OutputFolder&& other) noexcept
    : path_(std::move(other.path_)),
      scenario_names_(std::move(other.scenario_names_)),
      lock_fd_(std::exchange(other.lock_fd_, -1)),
      created_(std::exchange(other.created_, false)),
      has_committed_(other.has_committed_),
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
    return io_error(partial_, "cannot be created", error);
  }
  scenario_ = scenario_name;
  return partial_;
}

Status OutputFolder::commit() {
  TERN_CHECK(!scenario_.empty());
  const fs::path final_path = path_ / scenario_;
  const fs::path replaced = path_ / fmt::format(".{}{}{}", scenario_, kReplacedMark, ::getpid());
  const bool replaces = !is_missing(final_path);
  std::error_code error;
  if (replaces) {
    fs::rename(final_path, replaced, error);
    if (error) {
      return io_error(final_path, "the earlier sweep's folder cannot be moved away", error);
    }
  }
  fs::rename(partial_, final_path, error);
  if (error) {
    Status failure = io_error(final_path, "cannot be put in place", error);
    if (replaces) {
      fs::rename(replaced, final_path, error);
      if (error) {
        failure.error().hint = "the earlier sweep's folder is now " + replaced.string();
      }
    }
    return failure;
  }
  scenario_.clear();
  fs::remove_all(replaced, error);
  if (!std::exchange(has_committed_, true)) {
    remove_earlier_sweep();
  }
  return {};
}

// Its summaries would describe what is no longer there; its other scenarios would be taken for this sweep's.
void OutputFolder::remove_earlier_sweep() {
  std::error_code error;
  for (const fs::path& entry : entries_of(path_)) {
    const std::string name = entry.filename();
    if (is_report(name, report::Writer::Scope::kSweep)) {
      fs::remove(entry, error);
    }
    const bool of_this_sweep = std::find(scenario_names_.begin(), scenario_names_.end(), name) != scenario_names_.end();
    if (!of_this_sweep && !name.starts_with('.') && is_earlier_scenario(entry)) {
      fs::remove_all(entry, error);
    }
  }
}

void OutputFolder::discard() {
  if (!std::exchange(scenario_, {}).empty()) {
    std::error_code error;
    fs::remove_all(partial_, error);
  }
}

}  // namespace tern::sweep
