#include "tern/gguf/copy.h"

#include "tern/base/check.h"

namespace tern::gguf {
namespace {

// `Wide` is how a View holds values of type `Stored`.
template <class Stored, class Wide>
TypedValue narrowed(const Metadata& metadata) {
  if (metadata.type != ValueType::kArray) {
    return static_cast<Stored>(std::get<Wide>(metadata.value));
  }
  std::vector<Stored> array;
  for (const auto& element : std::get<std::vector<Wide>>(metadata.value)) {
    array.push_back(static_cast<Stored>(element));
  }
  return array;
}

}  // namespace

TypedValue typed_value(const Metadata& metadata) {
  switch (metadata.type == ValueType::kArray ? metadata.element_type : metadata.type) {
    case ValueType::kU8:
      return narrowed<uint8_t, uint64_t>(metadata);
    case ValueType::kI8:
      return narrowed<int8_t, int64_t>(metadata);
    case ValueType::kU16:
      return narrowed<uint16_t, uint64_t>(metadata);
    case ValueType::kI16:
      return narrowed<int16_t, int64_t>(metadata);
    case ValueType::kU32:
      return narrowed<uint32_t, uint64_t>(metadata);
    case ValueType::kI32:
      return narrowed<int32_t, int64_t>(metadata);
    case ValueType::kF32:
      return narrowed<float, double>(metadata);
    case ValueType::kBool:
      return narrowed<bool, bool>(metadata);
    case ValueType::kString:
      return narrowed<std::string, std::string_view>(metadata);
    case ValueType::kU64:
      return narrowed<uint64_t, uint64_t>(metadata);
    case ValueType::kI64:
      return narrowed<int64_t, int64_t>(metadata);
    case ValueType::kF64:
      return narrowed<double, double>(metadata);
    case ValueType::kArray:
      break;
  }
  TERN_CHECK(false);  // a View holds no arrays of arrays
  return {};
}

}  // namespace tern::gguf
