#include "tern/base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "tern/base/check.h"

namespace tern {
namespace fs = std::filesystem;

MappedFile::MappedFile(fs::path path, const std::byte* data, size_t size)
    : path_(std::move(path)), data_(data), size_(size) {}

Result<MappedFile> MappedFile::open(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    return fail(ErrorCode::kIo, path.string(), std::string("cannot be opened: ") + std::strerror(errno));
  }
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    return fail(ErrorCode::kIo, path.string(), "is not a regular file");
  }
  const auto size = static_cast<size_t>(info.st_size);
  if (size == 0) {
    ::close(fd);
    return MappedFile(path, nullptr, 0);
  }
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  const int map_errno = errno;
  ::close(fd);
  if (data == MAP_FAILED) {
    return fail(ErrorCode::kIo, path.string(), std::string("cannot be mapped: ") + std::strerror(map_errno));
  }
  return MappedFile(path, static_cast<const std::byte*>(data), size);
}

void MappedFile::map_pages() const {
#if defined(MADV_POPULATE_READ)
  if (size_ > 0) {
    ::madvise(const_cast<std::byte*>(data_), size_, MADV_POPULATE_READ);  // fails harmlessly: before Linux 5.14
  }
#endif
}

void MappedFile::drop_pages(std::span<const std::byte> part) const {
  TERN_CHECK(part.data() >= data_ && part.size() <= size_ && part.data() + part.size() <= data_ + size_);
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const auto offset = static_cast<size_t>(part.data() - data_);  // the mapping itself begins with a page
  const size_t begin = (offset + page - 1) / page * page;
  const size_t end = (offset + part.size()) / page * page;
  if (begin < end) {
    ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);  // fails harmlessly
  }
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) {
    ::munmap(const_cast<std::byte*>(data_), size_);
  }
}

}  // namespace tern
