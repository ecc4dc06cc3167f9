// I2_S as bitnet.cpp writes it on x86-64: the codes 0, 1, 2 stand for -1, 0, +1. In each block of 128 weights,
// byte i of 32 holds the weights i, i + 32, i + 64 and i + 96 from its highest two bits down. After the last
// row, a 32-byte tail begins with one float32 scale for the whole tensor. Source: quantize_i2_s in
// bitnet.cpp's src/ggml-bitnet-mad.cpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "tern/base/check.h"

namespace tern::quant::i2s_bitnet_cpp {

inline constexpr size_t kBlockCols = 128;
inline constexpr size_t kBlockBytes = 32;
inline constexpr size_t kTailBytes = 32;
inline constexpr std::array<int8_t, 3> kLevels = {-1, 0, 1};

// The code of weight `i` of a block lies in byte i % 32, this far up.
constexpr unsigned shift_of(size_t i) { return static_cast<unsigned>(6 - 2 * (i / kBlockBytes)); }

inline float tail_scale(std::span<const std::byte> tail) {
  float scale = 0;
  std::memcpy(&scale, tail.data(), sizeof(scale));
  return scale;
}

// Code 3 is not written; it decodes to +2, which is what bitnet.cpp's dot product makes of it.
inline void decode_row(std::span<const std::byte> row, std::span<const std::byte> tail, std::span<float> values) {
  const float scale = tail_scale(tail);
  for (size_t col = 0; col < values.size(); ++col) {
    const size_t in_block = col % kBlockCols;
    const std::byte byte = row[col / kBlockCols * kBlockBytes + in_block % kBlockBytes];
    const auto code = std::to_integer<unsigned>(byte) >> shift_of(in_block) & 3u;
    values[col] = static_cast<float>(static_cast<int>(code) - 1) * scale;
  }
}

inline void encode_row(std::span<const float> values, float unit, std::span<std::byte> row) {
  TERN_CHECK(unit > 0);
  std::memset(row.data(), 0, row.size());
  const float half = unit / 2;
  for (size_t col = 0; col < values.size(); ++col) {
    const int level = (values[col] > half ? 1 : 0) - (values[col] < -half ? 1 : 0);  // the nearest
    const size_t in_block = col % kBlockCols;
    row[col / kBlockCols * kBlockBytes + in_block % kBlockBytes] |=
        static_cast<std::byte>(static_cast<unsigned>(level + 1) << shift_of(in_block));
  }
}

inline void encode_tail(float unit, std::span<std::byte> tail) {
  std::memset(tail.data(), 0, tail.size());
  std::memcpy(tail.data(), &unit, sizeof(unit));
}

}  // namespace tern::quant::i2s_bitnet_cpp
