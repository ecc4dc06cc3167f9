// A GGUF model file (version 2 or 3, little-endian), memory-mapped and checked.
//
// The file is hostile until open() returns: every count, offset, length, type and string is checked before it is used,
// and nothing is allocated in proportion to an unchecked number. Afterwards the view is immutable and every tensor's
// bytes are known to lie inside the file and to have the size its encoding demands.
// Format: ggml/docs/gguf.md in llama.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/mapped_file.h"
#include "tern/quant/format.h"

namespace tern::gguf {

// GGUF's metadata value type ids.
enum class ValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};
std::string_view value_type_name(ValueType type);

// Scalars widened to 64 bits, strings as views into the mapping, arrays of each of these.
using Value = std::variant<uint64_t, int64_t, double, bool, std::string_view, std::vector<uint64_t>,
                           std::vector<int64_t>, std::vector<double>, std::vector<bool>, std::vector<std::string_view>>;

struct Metadata {
  std::string_view key;
  ValueType type = ValueType::kU8;          // of the value; kArray for arrays
  ValueType element_type = ValueType::kU8;  // of the elements, for arrays
  Value value;
};

struct Tensor {
  std::string_view name;
  uint32_t type_id = 0;
  std::vector<uint64_t> dims;             // as in the file: dims[0] runs fastest (columns), 1 to 4 of them
  const quant::Format* format = nullptr;  // null: a type that tern cannot read
  std::span<const std::byte> data;        // whole rows and the format's tail; empty where `format` is null
  uint64_t file_offset = 0;               // of data, from the start of the file
  uint64_t n_cols() const { return dims[0]; }
  uint64_t n_rows() const;  // product of the other dimensions
  uint64_t n_elements() const { return n_rows() * n_cols(); }
  // The bytes of one row, and those after the last row. `format` must not be null.
  std::span<const std::byte> row(uint64_t index) const;
  std::span<const std::byte> tail() const { return data.last(format->tail_bytes); }
};

class View {
 public:
  // Errors: kIo; kInvalidInput with `where` = "file @ 0xoffset: key or tensor" and the cause.
  static Result<View> open(const std::filesystem::path& path);
  // The same checks on bytes in memory (tests and fuzzing); `bytes` must outlive the view.
  static Result<View> parse(std::span<const std::byte> bytes, const std::string& name);

  uint32_t version() const { return version_; }
  uint64_t alignment() const { return alignment_; }
  uint64_t data_offset() const { return data_offset_; }
  uint64_t file_size() const { return bytes_.size(); }
  const std::string& name() const { return name_; }  // the path as given: for error messages
  std::span<const std::byte> bytes() const { return bytes_; }
  // As in MappedFile; both do nothing for bytes that are not a file's.
  void map_pages() const;
  void drop_pages(std::span<const std::byte> part) const;

  std::span<const Metadata> metadata() const { return metadata_; }
  const Metadata* find(std::string_view key) const;

  // Typed look-ups. Errors: kInvalidInput that names the file, the key, and what was found instead. Integers of any
  // width are accepted where the value fits.
  Result<uint64_t> get_uint(std::string_view key, uint64_t low, uint64_t high) const;
  Result<double> get_float(std::string_view key) const;
  Result<bool> get_bool(std::string_view key) const;
  Result<std::string_view> get_string(std::string_view key) const;
  Result<std::span<const std::string_view>> get_strings(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }

  std::span<const Tensor> tensors() const { return tensors_; }
  const Tensor* find_tensor(std::string_view name) const;

  // The format of the file's tensors of this type id: one for all of them, even where several formats share the id.
  // Null where there is no such tensor or tern cannot read the type.
  const quant::Format* format_of_type(uint32_t type_id) const;

  // "file: key general.architecture" etc., for errors of callers.
  std::string where_key(std::string_view key) const;
  std::string where_tensor(const Tensor& tensor) const;  // "file @ 0x1a40: tensor blk.0.attn_q.weight"

 private:
  friend class Parser;
  View() = default;

  std::string name_;
  std::shared_ptr<const MappedFile> file_;  // null for parse()
  std::span<const std::byte> bytes_;
  uint32_t version_ = 0;
  uint64_t alignment_ = 32;
  uint64_t data_offset_ = 0;
  std::vector<Metadata> metadata_;
  std::vector<Tensor> tensors_;
  std::unordered_map<std::string_view, size_t> metadata_index_;
  std::unordered_map<std::string_view, size_t> tensor_index_;
};

}  // namespace tern::gguf
