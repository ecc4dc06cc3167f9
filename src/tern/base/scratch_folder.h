// A folder for temporary files: removed with everything in it at the end of its object.
#pragma once

#include <filesystem>
#include <utility>
#include <vector>

#include "tern/base/error.h"

namespace tern {

class ScratchFolder {
 public:
  // A new one in the system's temporary folder. Errors: kIo.
  static Result<ScratchFolder> in_temporary_folder();
  // `path` itself, emptied first of what a killed process of the same name has left. Parents that have to be made for
  // it are removed at the end, too, if they are still empty. Errors: kIo.
  static Result<ScratchFolder> create(const std::filesystem::path& path);

  ScratchFolder(ScratchFolder&& other) noexcept
      : path_(std::exchange(other.path_, {})), new_parents_(std::move(other.new_parents_)) {}
  ScratchFolder& operator=(ScratchFolder&&) = delete;
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder();

  const std::filesystem::path& path() const { return path_; }

 private:
  explicit ScratchFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;                      // empty: moved from
  std::vector<std::filesystem::path> new_parents_;  // innermost first
};

}  // namespace tern
