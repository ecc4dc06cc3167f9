// The construction of a View: the header is read front to back (parser.cc), then the tensors are placed in the file
// (tensor_placement.cc), each checked against the file's size. Internal to gguf/: callers use View.
#pragma once

#include <string>
#include <string_view>

#include "tern/gguf/view.h"

namespace tern::gguf {

class Parser {
 public:
  // `name`: how errors call the file.
  Parser(std::span<const std::byte> bytes, const std::string& name);

  // Everything but tensor data is read and checked; see View::open.
  Result<View> parse();

 private:
  tl::unexpected<Error> error(const std::string& what, const std::string& hint = {}) const;
  uint64_t remaining() const { return view_.bytes_.size() - position_; }

  template <class T>
  Result<T> read(const char* what);
  Result<std::string_view> read_string(const char* what, uint64_t max_bytes);
  Result<std::string_view> read_name(const char* what, uint64_t max_bytes);  // not empty, UTF-8

  Status read_magic_and_version();
  Status check_count(const char* what, uint64_t count, uint64_t min_bytes_each) const;
  Status read_metadata(uint64_t n_entries);
  Result<Value> read_scalar(ValueType type);
  Result<Value> read_array(ValueType* element_type);
  template <class Wide, class Stored>
  Result<Value> read_numbers(uint64_t count);
  Result<Value> read_bools(uint64_t count);
  Result<Value> read_strings(uint64_t count);
  Result<bool> read_bool();
  Status read_alignment();
  Status read_tensor_infos(uint64_t n_tensors);
  Status read_dims(Tensor* tensor);

  View view_;
  uint64_t position_ = 0;
  std::string place_ = "header";   // the key or tensor being read, for errors
  uint64_t place_offset_ = 0;      // where it begins
  uint64_t n_array_elements_ = 0;  // of all arrays so far
};

// Turns the tensors' file_offset (relative to `data_offset` on entry) into absolute ones and sets their format and
// data. Every tensor must lie inside the file and before the next one. Where several formats share a type id, the file
// has the one whose sizes fit the space between offsets for all tensors of that id. Errors: kInvalidInput, also where
// no such format fits or two do.
Status place_tensors(std::span<const std::byte> file, const std::string& name, uint64_t data_offset, uint64_t alignment,
                     std::vector<Tensor>& tensors);

}  // namespace tern::gguf
