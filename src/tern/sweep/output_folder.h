// The sweep's output directory. A scenario's files are made in a hidden folder inside of it and renamed into place when
// they are all there, so that a scenario folder that exists is whole, whatever ended the sweep.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tern/base/error.h"

namespace tern::sweep {

class OutputFolder {
 public:
  // Makes the folder where needed, and claims it until this object's end: two sweeps into one folder would mix their
  // evidence. What a killed sweep left unfinished there is removed. Errors (kIo; nothing has been changed then): it
  // cannot be written, another sweep holds it, or a folder with a scenario's name is none of ours (has no report.txt).
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
  // Puts it in place, instead of an earlier sweep's folder of that name. The first one also removes that sweep's
  // summaries: they would speak of what is no longer there.
  Status commit();
  void discard();

 private:
  OutputFolder(std::filesystem::path path, int lock_fd, bool created)
      : path_(std::move(path)), lock_fd_(lock_fd), created_(created) {}

  std::filesystem::path path_;
  int lock_fd_ = -1;
  bool created_ = false;
  std::string scenario_;           // being made; empty if none
  std::filesystem::path partial_;  // its hidden folder
};

}  // namespace tern::sweep
