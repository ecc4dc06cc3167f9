// GGUF bytes put together by hand, so that tests can state anything, right or wrong.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "tern/gguf/view.h"
#include "tern/gguf/writer.h"

namespace tern::gguf::test {

class RawFile {
 public:
  template <class T>
  RawFile& put(T value) {
    static_assert(std::is_arithmetic_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  RawFile& text(std::string_view text) {
    put(uint64_t{text.size()});
    bytes_ += text;
    return *this;
  }
  RawFile& head(uint64_t n_tensors, uint64_t n_metadata, uint32_t version = 3) {
    bytes_ += "GGUF";
    return put(version).put(n_tensors).put(n_metadata);
  }
  RawFile& tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type_id, uint64_t offset) {
    text(name).put(static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) {
      put(dim);
    }
    return put(type_id).put(offset);
  }
  RawFile& pad(uint64_t alignment = 32) {
    bytes_.append(padding_after(bytes_.size(), alignment), '\0');
    return *this;
  }
  RawFile& data(uint64_t n_bytes) {
    bytes_.append(n_bytes, '\1');
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

inline Result<View> parse(const std::string& bytes) {
  return View::parse(std::as_bytes(std::span(bytes.data(), bytes.size())), "x.gguf");
}

// The error's line, or "" where the bytes are accepted.
inline std::string error_of(const std::string& bytes) {
  const auto view = parse(bytes);
  return view ? "" : view.error().line();
}
inline std::string error_of(const RawFile& file) { return error_of(file.bytes()); }

}  // namespace tern::gguf::test
