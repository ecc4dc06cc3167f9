// F32: the values themselves. Called through the table of format.h only.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

namespace tern::quant::f32 {

inline void decode_row(std::span<const std::byte> row, std::span<const std::byte>, std::span<float> values) {
  std::memcpy(values.data(), row.data(), values.size_bytes());
}

inline void encode_row(std::span<const float> values, float, std::span<std::byte> row) {
  std::memcpy(row.data(), values.data(), values.size_bytes());
}

}  // namespace tern::quant::f32
