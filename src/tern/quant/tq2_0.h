// TQ2_0: ternary weights of ggml in blocks of 256: 64 bytes of codes and then a float16 scale. The codes 0, 1, 2 stand
// for -1, 0, +1. Byte 32h + i holds the weights 128h + i, + 32, + 64 and + 96 from its lowest two bits up.
// Source: quantize_row_tq2_0_ref and dequantize_row_tq2_0 in ggml-quants.c of ggml.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "tern/quant/half.h"

namespace tern::quant::tq2_0 {

inline constexpr size_t kBlockCols = 256;
inline constexpr size_t kCodeBytes = 64;
inline constexpr size_t kBlockBytes = 66;
inline constexpr std::array<int8_t, 3> kLevels = {-1, 0, 1};

// Where the code of weight `i` of a block lies.
constexpr size_t byte_of(size_t i) { return 32 * (i / 128) + i % 32; }
constexpr unsigned shift_of(size_t i) { return static_cast<unsigned>(2 * (i % 128 / 32)); }

// Code 3 is not written; it decodes to +2, as in ggml.
inline void decode_row(std::span<const std::byte> row, std::span<const std::byte>, std::span<float> values) {
  for (size_t col = 0; col < values.size(); ++col) {
    const auto block = row.subspan(col / kBlockCols * kBlockBytes, kBlockBytes);
    const size_t i = col % kBlockCols;
    uint16_t scale = 0;
    std::memcpy(&scale, block.data() + kCodeBytes, sizeof(scale));
    const auto code = std::to_integer<unsigned>(block[byte_of(i)]) >> shift_of(i) & 3u;
    values[col] = static_cast<float>(static_cast<int>(code) - 1) * half_to_float(scale);
  }
}

// The scale of a block is its largest magnitude; each weight is divided by it before it is rounded to float16.
inline void encode_row(std::span<const float> values, float, std::span<std::byte> row) {
  std::memset(row.data(), 0, row.size());
  for (size_t first = 0; first < values.size(); first += kBlockCols) {
    const auto x = values.subspan(first, kBlockCols);
    const auto block = row.subspan(first / kBlockCols * kBlockBytes, kBlockBytes);
    float largest = 0;
    for (const float value : x) {
      largest = std::max(largest, std::abs(value));
    }
    const float inverse = largest == 0 ? 0 : 1.0F / largest;
    for (size_t i = 0; i < kBlockCols; ++i) {
      const auto code = static_cast<unsigned>(std::lround(x[i] * inverse) + 1);
      block[byte_of(i)] |= static_cast<std::byte>(code << shift_of(i));
    }
    const uint16_t scale = float_to_half(largest);
    std::memcpy(block.data() + kCodeBytes, &scale, sizeof(scale));
  }
}

}  // namespace tern::quant::tq2_0
