#include "tern/gguf/writer.h"

#include <type_traits>

#include "tern/base/check.h"
#include "tern/gguf/view.h"

namespace tern::gguf {
namespace {

template <class T>
constexpr ValueType value_type_of() {
  if constexpr (std::is_same_v<T, uint8_t>) {
    return ValueType::kU8;
  } else if constexpr (std::is_same_v<T, int8_t>) {
    return ValueType::kI8;
  } else if constexpr (std::is_same_v<T, uint16_t>) {
    return ValueType::kU16;
  } else if constexpr (std::is_same_v<T, int16_t>) {
    return ValueType::kI16;
  } else if constexpr (std::is_same_v<T, uint32_t>) {
    return ValueType::kU32;
  } else if constexpr (std::is_same_v<T, int32_t>) {
    return ValueType::kI32;
  } else if constexpr (std::is_same_v<T, float>) {
    return ValueType::kF32;
  } else if constexpr (std::is_same_v<T, bool>) {
    return ValueType::kBool;
  } else if constexpr (std::is_same_v<T, uint64_t>) {
    return ValueType::kU64;
  } else if constexpr (std::is_same_v<T, int64_t>) {
    return ValueType::kI64;
  } else if constexpr (std::is_same_v<T, double>) {
    return ValueType::kF64;
  } else {
    static_assert(std::is_same_v<T, std::string>);
    return ValueType::kString;
  }
}

template <class T>
void put(std::string& out, const T& value) {
  if constexpr (std::is_same_v<T, std::string>) {
    put(out, uint64_t{value.size()});
    out += value;
  } else if constexpr (std::is_same_v<T, bool>) {
    out += static_cast<char>(value ? 1 : 0);
  } else {
    static_assert(std::is_arithmetic_v<T>);
    out.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
}

template <class T>
void put_typed(std::string& out, const T& scalar) {
  put(out, static_cast<uint32_t>(value_type_of<T>()));
  put(out, scalar);
}

template <class T>
void put_typed(std::string& out, const std::vector<T>& array) {
  put(out, static_cast<uint32_t>(ValueType::kArray));
  put(out, static_cast<uint32_t>(value_type_of<T>()));
  put(out, uint64_t{array.size()});
  for (const auto& element : array) {
    put<T>(out, element);
  }
}

}  // namespace

void Header::add_tensor(std::string name, std::vector<uint64_t> dims, const quant::Format& format) {
  TERN_CHECK(!dims.empty());
  uint64_t n_rows = 1;
  for (size_t i = 1; i < dims.size(); ++i) {
    n_rows *= dims[i];
  }
  const auto n_bytes = format.tensor_bytes(n_rows, dims[0]);
  TERN_CHECK(n_bytes.has_value());
  tensors.push_back({std::move(name), std::move(dims), format.type_id, *n_bytes});
}

uint64_t padding_after(uint64_t n_bytes, uint64_t alignment) { return (alignment - n_bytes % alignment) % alignment; }

std::string encode_header(const Header& header) {
  std::string out = "GGUF";
  put(out, header.version);
  put(out, uint64_t{header.tensors.size()});
  put(out, uint64_t{header.metadata.size()});
  for (const auto& [key, value] : header.metadata) {
    put(out, key);
    std::visit([&out](const auto& typed) { put_typed(out, typed); }, value);
  }
  uint64_t offset = 0;
  for (const TensorPlan& tensor : header.tensors) {
    put(out, tensor.name);
    put(out, static_cast<uint32_t>(tensor.dims.size()));
    for (const uint64_t dim : tensor.dims) {
      put(out, dim);
    }
    put(out, tensor.type_id);
    put(out, offset);
    offset += tensor.n_bytes + padding_after(tensor.n_bytes, header.alignment);
  }
  out.append(padding_after(out.size(), header.alignment), '\0');
  return out;
}

Writer::Writer(FileWriter file, Header header, uint64_t bytes_total)
    : file_(std::move(file)), header_(std::move(header)), bytes_total_(bytes_total) {}

Result<Writer> Writer::create(const std::filesystem::path& path, Header header) {
  TERN_ASSIGN_OR_RETURN(FileWriter file, FileWriter::create(path));
  const std::string head = encode_header(header);
  TERN_RETURN_IF_ERROR(file.append(head));
  uint64_t bytes_total = head.size();
  for (const TensorPlan& tensor : header.tensors) {
    bytes_total += tensor.n_bytes + padding_after(tensor.n_bytes, header.alignment);
  }
  header.metadata.clear();  // written, and large where it holds a vocabulary
  return Writer(std::move(file), std::move(header), bytes_total);
}

Status Writer::append(std::span<const std::byte> bytes) {
  TERN_CHECK(tensor_ < header_.tensors.size());
  const uint64_t n_bytes = header_.tensors[tensor_].n_bytes;
  TERN_CHECK(bytes.size() <= n_bytes - in_tensor_);
  TERN_RETURN_IF_ERROR(file_.append(bytes));
  in_tensor_ += bytes.size();
  if (in_tensor_ == n_bytes) {
    const std::string zeros(padding_after(n_bytes, header_.alignment), '\0');
    TERN_RETURN_IF_ERROR(file_.append(zeros));
    ++tensor_;
    in_tensor_ = 0;
  }
  return {};
}

Status Writer::commit() {
  TERN_CHECK(tensor_ == header_.tensors.size());
  TERN_CHECK(file_.size() == bytes_total_);
  return file_.commit();
}

}  // namespace tern::gguf
