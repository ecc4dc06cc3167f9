#include "tern/base/page_memory.h"

#include <sys/mman.h>

#include <utility>

namespace tern {

Result<PageMemory> PageMemory::create(size_t n_bytes, const std::string& what, const std::string& hint) {
  if (n_bytes == 0) {
    return PageMemory(nullptr, 0);
  }
  void* data = ::mmap(nullptr, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return invalid_input(what, "no memory for " + std::to_string(n_bytes) + " bytes", hint);
  }
#if defined(MADV_HUGEPAGE)
  ::madvise(data, n_bytes, MADV_HUGEPAGE);  // a wish; nothing depends on it
#endif
  return PageMemory(static_cast<std::byte*>(data), n_bytes);
}

PageMemory::PageMemory(PageMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

PageMemory& PageMemory::operator=(PageMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

PageMemory::~PageMemory() {
  if (data_ != nullptr) {
    ::munmap(data_, size_);
  }
}

}  // namespace tern
