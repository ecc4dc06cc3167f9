#include "tern/gguf/view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "tern/gguf/parser.h"

namespace tern::gguf {
namespace {

// What a key holds, for errors: "u32", "array of string".
std::string found_type(const Metadata& entry) {
  if (entry.type == ValueType::kArray) {
    return fmt::format("an array of {}", value_type_name(entry.element_type));
  }
  return std::string(value_type_name(entry.type));
}

}  // namespace

std::string_view value_type_name(ValueType type) {
  switch (type) {
    case ValueType::kU8:
      return "u8";
    case ValueType::kI8:
      return "i8";
    case ValueType::kU16:
      return "u16";
    case ValueType::kI16:
      return "i16";
    case ValueType::kU32:
      return "u32";
    case ValueType::kI32:
      return "i32";
    case ValueType::kF32:
      return "f32";
    case ValueType::kBool:
      return "bool";
    case ValueType::kString:
      return "string";
    case ValueType::kArray:
      return "array";
    case ValueType::kU64:
      return "u64";
    case ValueType::kI64:
      return "i64";
    case ValueType::kF64:
      return "f64";
  }
  return "";  // unreachable: every enumerator returns above
}

uint64_t Tensor::n_rows() const {
  uint64_t n_rows = 1;
  for (size_t i = 1; i < dims.size(); ++i) {
    n_rows *= dims[i];
  }
  return n_rows;
}

std::span<const std::byte> Tensor::row(uint64_t index) const {
  const uint64_t row_bytes = format->row_bytes(n_cols());
  return data.subspan(index * row_bytes, row_bytes);
}

Result<View> View::open(const std::filesystem::path& path) {
  TERN_ASSIGN_OR_RETURN(auto file, MappedFile::open(path));
  const auto shared = std::make_shared<const MappedFile>(std::move(file));
  TERN_ASSIGN_OR_RETURN(View view, parse(shared->bytes(), path.string()));
  view.file_ = shared;
  return view;
}

Result<View> View::parse(std::span<const std::byte> bytes, const std::string& name) {
  return Parser(bytes, name).parse();
}

const Metadata* View::find(std::string_view key) const {
  const auto found = metadata_index_.find(key);
  return found == metadata_index_.end() ? nullptr : &metadata_[found->second];
}

const Tensor* View::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

const quant::Format* View::format_of_type(uint32_t type_id) const {
  const auto found =
      std::find_if(tensors_.begin(), tensors_.end(), [&](const Tensor& tensor) { return tensor.type_id == type_id; });
  return found == tensors_.end() ? nullptr : found->format;
}

void View::map_pages() const {
  if (file_ != nullptr) {
    file_->map_pages();
  }
}

void View::drop_pages(std::span<const std::byte> part) const {
  if (file_ != nullptr) {
    file_->drop_pages(part);
  }
}

std::string View::where_key(std::string_view key) const { return fmt::format("{}: key {}", name_, printable(key)); }

std::string View::where_tensor(const Tensor& tensor) const {
  return fmt::format("{} @ {:#x}: tensor {}", name_, tensor.file_offset, printable(tensor.name));
}

Result<uint64_t> View::get_uint(std::string_view key, uint64_t low, uint64_t high) const {
  const Metadata* entry = find(key);
  if (entry == nullptr) {
    return invalid_input(where_key(key), "is missing");
  }
  uint64_t value = 0;
  if (const auto* number = std::get_if<uint64_t>(&entry->value)) {
    value = *number;
  } else if (const auto* signed_number = std::get_if<int64_t>(&entry->value)) {
    if (*signed_number < 0) {
      return invalid_input(where_key(key), fmt::format("is {}, must be {} to {}", *signed_number, low, high));
    }
    value = static_cast<uint64_t>(*signed_number);
  } else {
    return invalid_input(where_key(key), fmt::format("must be an integer, is {}", found_type(*entry)));
  }
  if (value < low || value > high) {
    return invalid_input(where_key(key), fmt::format("is {}, must be {} to {}", value, low, high));
  }
  return value;
}

Result<double> View::get_float(std::string_view key) const {
  const Metadata* entry = find(key);
  if (entry == nullptr) {
    return invalid_input(where_key(key), "is missing");
  }
  const auto* number = std::get_if<double>(&entry->value);
  if (number == nullptr) {
    return invalid_input(where_key(key), fmt::format("must be a floating-point number, is {}", found_type(*entry)));
  }
  if (!std::isfinite(*number)) {
    return invalid_input(where_key(key), fmt::format("is {}, must be finite", *number));
  }
  return *number;
}

Result<bool> View::get_bool(std::string_view key) const {
  const Metadata* entry = find(key);
  if (entry == nullptr) {
    return invalid_input(where_key(key), "is missing");
  }
  if (const auto* value = std::get_if<bool>(&entry->value)) {
    return *value;
  }
  return invalid_input(where_key(key), fmt::format("must be a bool, is {}", found_type(*entry)));
}

Result<std::string_view> View::get_string(std::string_view key) const {
  const Metadata* entry = find(key);
  if (entry == nullptr) {
    return invalid_input(where_key(key), "is missing");
  }
  if (const auto* value = std::get_if<std::string_view>(&entry->value)) {
    return *value;
  }
  return invalid_input(where_key(key), fmt::format("must be a string, is {}", found_type(*entry)));
}

Result<std::span<const std::string_view>> View::get_strings(std::string_view key) const {
  const Metadata* entry = find(key);
  if (entry == nullptr) {
    return invalid_input(where_key(key), "is missing");
  }
  if (const auto* value = std::get_if<std::vector<std::string_view>>(&entry->value)) {
    return std::span<const std::string_view>(*value);
  }
  return invalid_input(where_key(key), fmt::format("must be an array of strings, is {}", found_type(*entry)));
}

}  // namespace tern::gguf
