// Whole small files in and out. A file that exists under its final name is always whole: it is written under a
// temporary name in the same folder and renamed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include "tern/base/error.h"

namespace tern {

// "path: what: cause", as the operating system states it.
tl::unexpected<Error> io_error(const std::filesystem::path& path, std::string_view what, const std::error_code& cause);

// Never waits for a FIFO or a device. Errors: kIo when it cannot be read or is not a regular file, kInvalidInput when
// it holds more than `max_bytes`.
Result<std::string> read_file(const std::filesystem::path& path, uint64_t max_bytes);

// Creates `path`'s folder if needed, replaces `path` atomically, as FileWriter does. Errors: kIo; nothing is
// left behind.
Status write_file(const std::filesystem::path& path, std::string_view content);

// Creates `path` in a folder that exists: for thousands of small files in a folder of our own, where looking around
// before each would cost more than writing it. Errors: kIo, also where something stands there; nothing is left behind.
Status write_new_file(const std::filesystem::path& path, std::string_view content);

// Appends to `path`, which is created where it is missing: in one piece, unless the disk is full or the process is
// killed in the middle of it. Errors: kIo.
Status append_to_file(const std::filesystem::path& path, std::string_view content);

// Creates a folder and its parents. Errors: kIo, naming the folder.
Status create_folder(const std::filesystem::path& path);

// A folder that no other user can write to: for files that will be executed. Creates it (mode 0700) where it is
// missing. Errors: kIo, also when what is there is a link, belongs to another user, or is writable for others; what
// lies in it must then not be used either.
Status create_private_folder(const std::filesystem::path& path);

// A large file written piece by piece. Nothing exists under `path` until commit(); a writer destroyed before that
// removes its temporary file. Where `path` is a symbolic link, the file that it leads to is replaced and the link
// stays, as if it had been opened for writing; but as with Linux's protected_symlinks, a link that another user has
// laid into a folder that all users may write to (/tmp) is refused.
class FileWriter {
 public:
  static Result<FileWriter> create(const std::filesystem::path& path);
  FileWriter(FileWriter&&) noexcept;
  FileWriter& operator=(FileWriter&&) noexcept;
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  ~FileWriter();

  Status append(std::span<const std::byte> bytes);
  Status append(std::string_view text) { return append(std::as_bytes(std::span(text.data(), text.size()))); }
  // Overwrites bytes already written, e.g. a header whose content is known only at the end.
  Status write_at(uint64_t offset, std::span<const std::byte> bytes);
  uint64_t size() const { return size_; }
  Status commit();

 private:
  FileWriter(std::filesystem::path path, std::filesystem::path temporary, int fd);

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

}  // namespace tern
