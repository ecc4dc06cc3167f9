#include "tern/gguf/parser.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <bit>
#include <cstring>
#include <type_traits>
#include <utility>

namespace tern::gguf {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF values are copied as they lie in the file");

// Limits of ours, far above any model known; they bound what a hostile file can make us allocate.
constexpr uint64_t kMaxEntries = 65536;                     // metadata keys; tensors
constexpr uint64_t kMaxArrayElements = uint64_t{16} << 20;  // of all arrays together
constexpr uint64_t kMaxAlignment = uint64_t{1} << 16;
constexpr uint64_t kMinAlignment = 8;         // gguf.md: a multiple of 8
constexpr uint64_t kMaxKeyBytes = 65535;      // gguf.md
constexpr uint64_t kMaxTensorNameBytes = 64;  // gguf.md

// The least that one entry takes: key or name with one byte, type, value or dimensions.
constexpr uint64_t kMinMetadataBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorInfoBytes = 8 + 1 + 4 + 8 + 4 + 8;

constexpr std::string_view kAlignmentKey = "general.alignment";

}  // namespace

Parser::Parser(std::span<const std::byte> bytes, const std::string& name) {
  view_.bytes_ = bytes;
  view_.name_ = name;
}

tl::unexpected<Error> Parser::error(const std::string& what, const std::string& hint) const {
  return invalid_input(fmt::format("{} @ {:#x}: {}", view_.name_, place_offset_, place_), what, hint);
}

template <class T>
Result<T> Parser::read(const char* what) {
  static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
  if (remaining() < sizeof(T)) {
    return error(fmt::format("the file ends at {:#x} inside {}", view_.bytes_.size(), what), "the file is truncated");
  }
  T value{};
  std::memcpy(&value, view_.bytes_.data() + position_, sizeof(T));
  position_ += sizeof(T);
  return value;
}

Result<std::string_view> Parser::read_string(const char* what, uint64_t max_bytes) {
  TERN_ASSIGN_OR_RETURN(const uint64_t size, read<uint64_t>(what));
  if (size > remaining()) {
    return error(fmt::format("{} has {} bytes, but the file has only {} left", what, size, remaining()),
                 "the file is truncated or damaged");
  }
  if (size > max_bytes) {
    return error(fmt::format("{} has {} bytes, more than the {} allowed", what, size, max_bytes));
  }
  const std::string_view text(reinterpret_cast<const char*>(view_.bytes_.data()) + position_, size);
  position_ += size;
  return text;
}

Result<std::string_view> Parser::read_name(const char* what, uint64_t max_bytes) {
  TERN_ASSIGN_OR_RETURN(const std::string_view name, read_string(what, max_bytes));
  if (name.empty()) {
    return error(fmt::format("{} is empty", what));
  }
  if (!simdjson::validate_utf8(name.data(), name.size())) {
    return error(fmt::format("{} is not valid UTF-8", what));
  }
  return name;
}

Status Parser::read_magic_and_version() {
  const auto& bytes = view_.bytes_;
  if (bytes.empty()) {
    return error("the file is empty, not a GGUF");
  }
  if (bytes.size() < 8 || std::memcmp(bytes.data(), "GGUF", 4) != 0) {
    const size_t n_shown = bytes.size() < 4 ? bytes.size() : 4;
    std::string found;
    for (const std::byte byte : bytes.first(n_shown)) {
      found += fmt::format("{}{:02x}", found.empty() ? "" : " ", std::to_integer<unsigned>(byte));
    }
    return error(
        fmt::format("not a GGUF file: it begins with the bytes {}, not 47 47 55 46 (\"GGUF\") and a version", found));
  }
  position_ = 4;
  TERN_ASSIGN_OR_RETURN(view_.version_, read<uint32_t>("the version"));
  if (view_.version_ == 2 || view_.version_ == 3) {
    return {};
  }
  if (view_.version_ == 1) {
    return error("GGUF version 1 is not supported, only 2 and 3", "convert the model again with a current converter");
  }
  if ((view_.version_ & 0xffffu) == 0 && view_.version_ != 0) {
    return error("the file is big-endian; only little-endian GGUF files are supported");
  }
  return error(fmt::format("GGUF version {} is unknown, only 2 and 3 are supported", view_.version_));
}

Status Parser::check_count(const char* what, uint64_t count, uint64_t min_bytes_each) const {
  if (count > remaining() / min_bytes_each) {
    return error(fmt::format("{} {} announced, impossible in the {} bytes that follow", count, what, remaining()),
                 "the file is truncated or damaged");
  }
  if (count > kMaxEntries) {
    return error(fmt::format("{} {} announced, more than the {} allowed", count, what, kMaxEntries));
  }
  return {};
}

Result<View> Parser::parse() {
  TERN_RETURN_IF_ERROR(read_magic_and_version());
  TERN_ASSIGN_OR_RETURN(const uint64_t n_tensors, read<uint64_t>("the tensor count"));
  TERN_ASSIGN_OR_RETURN(const uint64_t n_metadata, read<uint64_t>("the metadata count"));
  TERN_RETURN_IF_ERROR(check_count("metadata keys", n_metadata, kMinMetadataBytes));
  TERN_RETURN_IF_ERROR(check_count("tensors", n_tensors, kMinTensorInfoBytes));
  TERN_RETURN_IF_ERROR(read_metadata(n_metadata));
  TERN_RETURN_IF_ERROR(read_alignment());
  TERN_RETURN_IF_ERROR(read_tensor_infos(n_tensors));

  const uint64_t alignment = view_.alignment_;
  view_.data_offset_ = (position_ + alignment - 1) / alignment * alignment;
  TERN_RETURN_IF_ERROR(place_tensors(view_.bytes_, view_.name_, view_.data_offset_, alignment, view_.tensors_));
  return std::move(view_);
}

Status Parser::read_metadata(uint64_t n_entries) {
  view_.metadata_.reserve(n_entries);
  view_.metadata_index_.reserve(n_entries);
  for (uint64_t i = 0; i < n_entries; ++i) {
    place_ = fmt::format("metadata entry {}", i);
    place_offset_ = position_;
    Metadata entry;
    TERN_ASSIGN_OR_RETURN(entry.key, read_name("the key", kMaxKeyBytes));
    place_ = "key " + printable(entry.key);
    TERN_ASSIGN_OR_RETURN(const uint32_t type, read<uint32_t>("the value's type"));
    if (type > static_cast<uint32_t>(ValueType::kF64)) {
      return error(fmt::format("value type {} is unknown (0 to 12 exist)", type));
    }
    entry.type = static_cast<ValueType>(type);
    TERN_ASSIGN_OR_RETURN(entry.value,
                          entry.type == ValueType::kArray ? read_array(&entry.element_type) : read_scalar(entry.type));
    if (!view_.metadata_index_.emplace(entry.key, i).second) {
      return error("the key occurs twice");
    }
    view_.metadata_.push_back(std::move(entry));
  }
  return {};
}

Result<bool> Parser::read_bool() {
  TERN_ASSIGN_OR_RETURN(const uint8_t byte, read<uint8_t>("a bool"));
  if (byte > 1) {
    return error(fmt::format("a bool holds {} where only 0 and 1 are allowed", byte));
  }
  return byte == 1;
}

Result<Value> Parser::read_scalar(ValueType type) {
  const char* what = "the value";
  const auto as_unsigned = [](auto value) { return Value(static_cast<uint64_t>(value)); };
  const auto as_signed = [](auto value) { return Value(static_cast<int64_t>(value)); };
  const auto as_double = [](auto value) { return Value(static_cast<double>(value)); };
  switch (type) {
    case ValueType::kU8:
      return read<uint8_t>(what).map(as_unsigned);
    case ValueType::kI8:
      return read<int8_t>(what).map(as_signed);
    case ValueType::kU16:
      return read<uint16_t>(what).map(as_unsigned);
    case ValueType::kI16:
      return read<int16_t>(what).map(as_signed);
    case ValueType::kU32:
      return read<uint32_t>(what).map(as_unsigned);
    case ValueType::kI32:
      return read<int32_t>(what).map(as_signed);
    case ValueType::kU64:
      return read<uint64_t>(what).map(as_unsigned);
    case ValueType::kI64:
      return read<int64_t>(what).map(as_signed);
    case ValueType::kF32:
      return read<float>(what).map(as_double);
    case ValueType::kF64:
      return read<double>(what).map(as_double);
    case ValueType::kBool:
      return read_bool().map([](bool value) { return Value(value); });
    case ValueType::kString:
      return read_string("the string", UINT64_MAX).map([](std::string_view text) { return Value(text); });
    case ValueType::kArray:
      break;
  }
  return error("arrays of arrays are not supported");
}

template <class Wide, class Stored>
Result<Value> Parser::read_numbers(uint64_t count) {
  std::vector<Wide> numbers(count);
  for (Wide& number : numbers) {
    Stored stored{};
    std::memcpy(&stored, view_.bytes_.data() + position_, sizeof(Stored));
    position_ += sizeof(Stored);
    number = static_cast<Wide>(stored);
  }
  return Value(std::move(numbers));
}

Result<Value> Parser::read_bools(uint64_t count) {
  std::vector<bool> bools;
  bools.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    TERN_ASSIGN_OR_RETURN(const bool value, read_bool());
    bools.push_back(value);
  }
  return Value(std::move(bools));
}

Result<Value> Parser::read_strings(uint64_t count) {
  std::vector<std::string_view> strings;
  strings.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    auto text = read_string("a string of the array", UINT64_MAX);
    if (!text) {
      return error(fmt::format("element {} of {}: {}", i, count, text.error().what), text.error().hint);
    }
    strings.push_back(*text);
  }
  return Value(std::move(strings));
}

Result<Value> Parser::read_array(ValueType* element_type) {
  TERN_ASSIGN_OR_RETURN(const uint32_t type, read<uint32_t>("the array's element type"));
  if (type > static_cast<uint32_t>(ValueType::kF64)) {
    return error(fmt::format("array element type {} is unknown (0 to 12 exist)", type));
  }
  *element_type = static_cast<ValueType>(type);
  if (*element_type == ValueType::kArray) {
    return error("arrays of arrays are not supported");
  }
  TERN_ASSIGN_OR_RETURN(const uint64_t count, read<uint64_t>("the array's element count"));
  constexpr uint64_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 0, 8, 8, 8};  // by ValueType; of a string its length field
  if (count > remaining() / kBytes[type]) {
    return error(fmt::format("an array of {} elements of type {} cannot fit into the {} bytes left", count,
                             value_type_name(*element_type), remaining()),
                 "the file is truncated or damaged");
  }
  if (count > kMaxArrayElements - n_array_elements_) {
    return error(fmt::format("the file's arrays have more than {} elements together", kMaxArrayElements));
  }
  n_array_elements_ += count;
  switch (*element_type) {
    case ValueType::kU8:
      return read_numbers<uint64_t, uint8_t>(count);
    case ValueType::kI8:
      return read_numbers<int64_t, int8_t>(count);
    case ValueType::kU16:
      return read_numbers<uint64_t, uint16_t>(count);
    case ValueType::kI16:
      return read_numbers<int64_t, int16_t>(count);
    case ValueType::kU32:
      return read_numbers<uint64_t, uint32_t>(count);
    case ValueType::kI32:
      return read_numbers<int64_t, int32_t>(count);
    case ValueType::kU64:
      return read_numbers<uint64_t, uint64_t>(count);
    case ValueType::kI64:
      return read_numbers<int64_t, int64_t>(count);
    case ValueType::kF32:
      return read_numbers<double, float>(count);
    case ValueType::kF64:
      return read_numbers<double, double>(count);
    case ValueType::kBool:
      return read_bools(count);
    case ValueType::kString:
      return read_strings(count);
    case ValueType::kArray:
      break;
  }
  return error("arrays of arrays are not supported");  // unreachable: refused above
}

Status Parser::read_alignment() {
  const auto found = view_.metadata_index_.find(kAlignmentKey);
  if (found == view_.metadata_index_.end()) {
    return {};
  }
  TERN_ASSIGN_OR_RETURN(view_.alignment_, view_.get_uint(kAlignmentKey, kMinAlignment, kMaxAlignment));
  if (!std::has_single_bit(view_.alignment_)) {
    return invalid_input(view_.where_key(kAlignmentKey), fmt::format("{} is not a power of two", view_.alignment_));
  }
  return {};
}

Status Parser::read_tensor_infos(uint64_t n_tensors) {
  view_.tensors_.reserve(n_tensors);
  view_.tensor_index_.reserve(n_tensors);
  for (uint64_t i = 0; i < n_tensors; ++i) {
    place_ = fmt::format("tensor entry {}", i);
    place_offset_ = position_;
    Tensor tensor;
    TERN_ASSIGN_OR_RETURN(tensor.name, read_name("the tensor's name", kMaxTensorNameBytes));
    place_ = "tensor " + printable(tensor.name);
    TERN_RETURN_IF_ERROR(read_dims(&tensor));
    TERN_ASSIGN_OR_RETURN(tensor.type_id, read<uint32_t>("the tensor's type"));
    TERN_ASSIGN_OR_RETURN(const uint64_t offset, read<uint64_t>("the tensor's offset"));
    if (offset % view_.alignment_ != 0) {
      return error(fmt::format("offset {:#x} is not a multiple of the alignment, {}", offset, view_.alignment_));
    }
    if (offset >= view_.bytes_.size()) {
      return error(fmt::format("offset {:#x} lies past the end of the file ({:#x} bytes)", offset, view_.bytes_.size()),
                   "the file is truncated or damaged");
    }
    tensor.file_offset = offset;  // relative to the data section until place_tensors()
    if (!view_.tensor_index_.emplace(tensor.name, i).second) {
      return error("the name occurs twice");
    }
    view_.tensors_.push_back(std::move(tensor));
  }
  return {};
}

Status Parser::read_dims(Tensor* tensor) {
  TERN_ASSIGN_OR_RETURN(const uint32_t n_dims, read<uint32_t>("the number of dimensions"));
  if (n_dims < 1 || n_dims > 4) {
    return error(fmt::format("{} dimensions where 1 to 4 are allowed", n_dims));
  }
  uint64_t n_elements = 1;
  for (uint32_t i = 0; i < n_dims; ++i) {
    TERN_ASSIGN_OR_RETURN(const uint64_t dim, read<uint64_t>("the dimensions"));
    if (dim == 0) {
      return error(fmt::format("dimension {} is 0", i));
    }
    // The number of elements must be a signed 64-bit number, as in ggml.
    if (__builtin_mul_overflow(n_elements, dim, &n_elements) || n_elements > uint64_t{INT64_MAX}) {
      return error("the product of the dimensions overflows 64 bits");
    }
    tensor->dims.push_back(dim);
  }
  return {};
}

}  // namespace tern::gguf
