// Zeroed memory for arrays of many megabytes, straight from the kernel: in huge pages where it grants them, and taking
// up nothing until it is touched.
#pragma once

#include <cstddef>
#include <span>

#include "tern/base/error.h"

namespace tern {

class PageMemory {
 public:
  // `what` names the array in the error, `hint` what a user can do. Errors: kInvalidInput where the kernel has no
  // `n_bytes` to give.
  static Result<PageMemory> create(size_t n_bytes, const std::string& what, const std::string& hint = {});

  PageMemory(PageMemory&& other) noexcept;
  PageMemory& operator=(PageMemory&& other) noexcept;
  PageMemory(const PageMemory&) = delete;
  PageMemory& operator=(const PageMemory&) = delete;
  ~PageMemory();

  // Aligned to a page at least.
  std::span<std::byte> bytes() const { return {data_, size_}; }

 private:
  PageMemory(std::byte* data, size_t size) : data_(data), size_(size) {}

  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace tern
