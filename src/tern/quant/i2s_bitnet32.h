// The layout of I2_S that BitNet-rs calls BitNet32-F16: blocks of 32 weights in 8 bytes (four_levels.h), followed by a
// float16 scale.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "tern/quant/four_levels.h"
#include "tern/quant/half.h"

namespace tern::quant::i2s_bitnet32 {

inline constexpr size_t kBlockCols = 32;
inline constexpr size_t kCodeBytes = 8;
inline constexpr size_t kBlockBytes = 10;

inline void unpack_row(std::span<const std::byte> row, std::span<int8_t> levels) {
  for (size_t first = 0; first < levels.size(); first += kBlockCols) {
    four_levels::unpack(row.subspan(first / kBlockCols * kBlockBytes, kCodeBytes), levels.subspan(first, kBlockCols));
  }
}

inline float block_scale(std::span<const std::byte> row, size_t block) {
  uint16_t half = 0;
  std::memcpy(&half, row.subspan(block * kBlockBytes + kCodeBytes, sizeof(half)).data(), sizeof(half));
  return half_to_float(half);
}

inline void decode_row(std::span<const std::byte> row, std::span<const std::byte>, std::span<float> values) {
  std::vector<int8_t> levels(values.size());
  unpack_row(row, levels);
  for (size_t col = 0; col < values.size(); ++col) {
    values[col] = static_cast<float>(levels[col]) * block_scale(row, col / kBlockCols);
  }
}

// The scale of every block is `unit`, rounded to float16.
inline void encode_row(std::span<const float> values, float unit, std::span<std::byte> row) {
  const uint16_t half = float_to_half(unit);
  for (size_t first = 0; first < values.size(); first += kBlockCols) {
    const auto block = row.subspan(first / kBlockCols * kBlockBytes, kBlockBytes);
    four_levels::pack(values.subspan(first, kBlockCols), unit, block.first(kCodeBytes));
    std::memcpy(block.data() + kCodeBytes, &half, sizeof(half));
  }
}

}  // namespace tern::quant::i2s_bitnet32
