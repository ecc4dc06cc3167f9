// The layout of I2_S that BitNet-rs calls QK256: 256 weights in 64 bytes (four_levels.h), rows padded to whole blocks,
// and no scale.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tern/base/check.h"
#include "tern/quant/four_levels.h"

namespace tern::quant::i2s_qk256 {

inline void decode_row(std::span<const std::byte> row, std::span<const std::byte>, std::span<float> values) {
  std::vector<int8_t> levels(values.size());
  four_levels::unpack(row, levels);
  for (size_t col = 0; col < values.size(); ++col) {
    values[col] = static_cast<float>(levels[col]);
  }
}

// `unit` must be 1: there is no scale to keep another one in.
inline void encode_row(std::span<const float> values, float unit, std::span<std::byte> row) {
  TERN_CHECK(unit == 1.0F);
  four_levels::pack(values, unit, row);
}

}  // namespace tern::quant::i2s_qk256
