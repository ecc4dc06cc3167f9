// A read-only memory mapping of a whole regular file. For model-sized files: nothing is copied, pages come on demand.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "tern/base/error.h"

namespace tern {

class MappedFile {
 public:
  // Errors: kIo when the file cannot be opened or mapped, or is not a regular file. An empty file maps to an
  // empty span.
  static Result<MappedFile> open(const std::filesystem::path& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  // Valid as long as this object. The file must not be truncated by others meanwhile (the kernel would raise SIGBUS).
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  // Maps the pages of the whole file now, in one go: many times faster than one by one when they are first read.
  void map_pages() const;
  // Lets go of the memory behind whole pages of `part`, a part of bytes(), which a reader is done with. What is read
  // there later comes from the file again.
  void drop_pages(std::span<const std::byte> part) const;
  const std::filesystem::path& path() const { return path_; }

 private:
  MappedFile(std::filesystem::path path, const std::byte* data, size_t size);

  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace tern
