#include "tern/base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

namespace tern {
namespace fs = std::filesystem;
namespace {

std::error_code from_errno(int error_number) { return {error_number, std::generic_category()}; }

Status write_fully(int fd, std::span<const std::byte> bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) {
        continue;
      }
      return io_error(path, "cannot be written", from_errno(errno));
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

// The rule of fs.protected_symlinks (proc_sys_fs(5)), which the kernel applies to open() only.
bool is_link_of_another_user(const struct stat& link, const struct stat& folder) {
  const bool everybody_writes = (folder.st_mode & S_ISVTX) != 0 && (folder.st_mode & S_IWOTH) != 0;
  return everybody_writes && link.st_uid != ::geteuid() && link.st_uid != folder.st_uid;
}

// Where a write to `path` goes: `path` itself, unless it is a link.
Result<fs::path> follow_links(const fs::path& path) {
  constexpr int kMostLinks = 40;  // the kernel's limit
  fs::path target = path;
  for (int i = 0; i < kMostLinks; ++i) {
    struct stat link {};
    if (::lstat(target.c_str(), &link) != 0 || !S_ISLNK(link.st_mode)) {
      return target;
    }
    const fs::path folder = target.has_parent_path() ? target.parent_path() : fs::path(".");
    struct stat folder_info {};
    if (::stat(folder.c_str(), &folder_info) != 0 || is_link_of_another_user(link, folder_info)) {
      return fail(ErrorCode::kIo, path.string(), "is a link of another user, in a folder that all users can write to",
                  "remove it, or choose another path");
    }
    std::error_code error;
    target = folder / fs::read_symlink(target, error);  // an absolute target replaces the folder
    if (error) {
      return io_error(path, "the link cannot be read", error);
    }
  }
  return fail(ErrorCode::kIo, path.string(), "is a link that leads to too many others");
}

}  // namespace

tl::unexpected<Error> io_error(const fs::path& path, std::string_view what, const std::error_code& cause) {
  return fail(ErrorCode::kIo, path.string(), fmt::format("{}: {}", what, cause.message()));
}

Result<std::string> read_file(const fs::path& path, uint64_t max_bytes) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    return io_error(path, "cannot be opened", from_errno(errno));
  }
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    return fail(ErrorCode::kIo, path.string(), "is not a regular file");
  }
  std::string content;
  std::string chunk(size_t{1} << 16, '\0');
  for (;;) {
    const ssize_t n = ::read(fd, chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      const int error_number = errno;
      ::close(fd);
      return io_error(path, "cannot be read", from_errno(error_number));
    }
    if (n == 0) {
      break;
    }
    content.append(chunk, 0, static_cast<size_t>(n));
    if (content.size() > max_bytes) {
      ::close(fd);
      return invalid_input(path.string(), fmt::format("is larger than the {} bytes allowed here", max_bytes));
    }
  }
  ::close(fd);
  return content;
}

Status append_to_file(const fs::path& path, std::string_view content) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) {
    return io_error(path, "cannot be opened for writing", from_errno(errno));
  }
  Status written = write_fully(fd, std::as_bytes(std::span(content)), path);
  if (::close(fd) != 0 && written) {
    written = io_error(path, "cannot be written", from_errno(errno));
  }
  return written;
}

Status create_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) {
    return io_error(path, "the folder cannot be created", error);
  }
  if (!fs::is_directory(path, error)) {
    return fail(ErrorCode::kIo, path.string(), "exists and is not a folder");
  }
  return {};
}

Status create_private_folder(const fs::path& path) {
  if (path.has_parent_path()) {
    TERN_RETURN_IF_ERROR(create_folder(path.parent_path()));
  }
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return io_error(path, "the folder cannot be created", from_errno(errno));
  }
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return fail(ErrorCode::kIo, path.string(), "exists and is not a folder");
  }
  if (info.st_uid != ::geteuid()) {
    return fail(ErrorCode::kIo, path.string(), fmt::format("belongs to another user ({})", info.st_uid));
  }
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return fail(ErrorCode::kIo, path.string(), "others can write into it, and what is in it would be executed",
                "look at what is in it, then chmod go-w " + path.string());
  }
  return {};
}

Status write_file(const fs::path& path, std::string_view content) {
  TERN_ASSIGN_OR_RETURN(auto writer, FileWriter::create(path));
  TERN_RETURN_IF_ERROR(writer.append(content));
  return writer.commit();
}

Status write_new_file(const fs::path& path, std::string_view content) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) {
    return io_error(path, "cannot be created", from_errno(errno));
  }
  Status written = write_fully(fd, std::as_bytes(std::span(content)), path);
  if (::close(fd) != 0 && written) {
    written = io_error(path, "cannot be written", from_errno(errno));
  }
  if (!written) {
    ::unlink(path.c_str());
  }
  return written;
}

FileWriter::FileWriter(fs::path path, fs::path temporary, int fd)
    : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}

Result<FileWriter> FileWriter::create(const fs::path& wanted_path) {
  static std::atomic<unsigned> counter{0};
  if (wanted_path.has_parent_path()) {
    TERN_RETURN_IF_ERROR(create_folder(wanted_path.parent_path()));
  }
  TERN_ASSIGN_OR_RETURN(const fs::path path, follow_links(wanted_path));
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    return fail(ErrorCode::kIo, path.string(), "cannot be written: it is a folder");
  }
  if (fs::exists(path, ignored) && !fs::is_regular_file(path, ignored)) {
    return fail(ErrorCode::kIo, path.string(), "cannot be replaced: it is not a regular file");
  }
  const fs::path temporary = path.string() + fmt::format(".tmp-{}-{}", ::getpid(), counter++);
  const int fd = ::open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) {
    return io_error(path, "cannot be created", from_errno(errno));
  }
  return FileWriter(path, temporary, fd);
}

FileWriter::FileWriter(FileWriter&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      fd_(std::exchange(other.fd_, -1)),
      size_(other.size_) {}

FileWriter& FileWriter::operator=(FileWriter&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  return *this;
}

FileWriter::~FileWriter() {
  if (fd_ >= 0) {
    ::close(fd_);
    ::unlink(temporary_.c_str());
  }
}

Status FileWriter::append(std::span<const std::byte> bytes) {
  TERN_RETURN_IF_ERROR(write_fully(fd_, bytes, path_));
  size_ += bytes.size();
  return {};
}

Status FileWriter::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) {
        continue;
      }
      return io_error(path_, "cannot be written", from_errno(errno));
    }
    offset += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Status FileWriter::commit() {
  const int fd = std::exchange(fd_, -1);
  if (::close(fd) != 0) {
    const int error_number = errno;
    ::unlink(temporary_.c_str());
    return io_error(path_, "cannot be written", from_errno(error_number));
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int error_number = errno;
    ::unlink(temporary_.c_str());
    return io_error(path_, "cannot be renamed into place", from_errno(error_number));
  }
  return {};
}

}  // namespace tern
