// The sweep's output directory. A scenario's files are made in a hidden folder inside of it and renamed into place when
// they are all there, so that a scenario folder that exists is whole, whatever ended the sweep. (What an unfinished
// scenario has cost is not lost with its hidden folder: kept_runs.h.)
//
// An output directory holds one sweep. What an earlier one has left there goes, with its first scenario that is
// replaced or added: its summaries, and its scenario folders of names that this sweep does not have. A folder is known
// for a sweep's by its content: report.txt and logits-comparison.json, and nothing but what sweeps write (those two,
// and names that end in -run, -traces and -output.txt). Whatever is not certainly a sweep's is never touched.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tern/base/error.h"

namespace tern::sweep {

// `text` with the path of `from` replaced by that of `to`: a scenario's files are made in another folder than they end
// up in, and records of its runs must name paths that last.
std::string with_other_folder(std::string text, const std::filesystem::path& from, const std::filesystem::path& to);

class OutputFolder {
 public:
  // Makes the folder where needed, and claims it until this object's end: two sweeps into one folder would mix their
  // evidence. What a killed sweep left unfinished there is removed, and what it was just replacing is put back. Errors
  // (kIo; nothing has been changed then): it cannot be written, another sweep holds it, or a folder with a scenario's
  // name is not ours alone (has no report.txt, or something else that no sweep has written). kUsage: `path` is empty.
  static Result<OutputFolder> open(const std::filesystem::path& path, const std::vector<std::string>& scenario_names);
  OutputFolder(OutputFolder&& other) noexcept;
  OutputFolder& operator=(OutputFolder&&) = delete;
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  // Removes an unfinished scenario, and the output directory itself if it was made here and nothing is in it.
  ~OutputFolder();

  const std::filesystem::path& path() const { return path_; }

  // A new empty folder for a scenario's files. One at a time.
  Result<std::filesystem::path> begin(const std::string& scenario_name);
  // Puts it in place, instead of an earlier sweep's folder of that name. The first one also removes what else that
  // sweep has left. Errors: kIo; the earlier folder is then where it was (or the error says where it is).
  Status commit();
  void discard();

 private:
  OutputFolder(std::filesystem::path path, std::vector<std::string> scenario_names, int lock_fd, bool created)
      : path_(std::move(path)), scenario_names_(std::move(scenario_names)), lock_fd_(lock_fd), created_(created) {}
  void remove_earlier_sweep();

  std::filesystem::path path_;
  std::vector<std::string> scenario_names_;
  int lock_fd_ = -1;
  bool created_ = false;
  bool has_committed_ = false;
  std::string scenario_;           // being made; empty if none
  std::filesystem::path partial_;  // its hidden folder
};

}  // namespace tern::sweep
