// What BitNet-rs's two layouts of I2_S have in common: a byte holds four neighbouring weights from its lowest two bits
// up, and the codes 0, 1, 2, 3 stand for -2, -1, +1, +2.
// Source: crates/bitnet-models/src/quant/i2s.rs of EffortlessMetrics/BitNet-rs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "tern/base/check.h"

namespace tern::quant::four_levels {

inline constexpr std::array<int8_t, 4> kLevels = {-2, -1, 1, 2};

// `bytes`: levels.size() / 4 of them, rounded up.
inline void unpack(std::span<const std::byte> bytes, std::span<int8_t> levels) {
  for (size_t i = 0; i < levels.size(); ++i) {
    levels[i] = kLevels[std::to_integer<unsigned>(bytes[i / 4]) >> (2 * (i % 4)) & 3u];
  }
}

// The inverse: each value becomes the nearest level times `unit`.
inline void pack(std::span<const float> values, float unit, std::span<std::byte> bytes) {
  TERN_CHECK(unit > 0);
  std::memset(bytes.data(), 0, bytes.size());
  const float middle = 1.5F * unit;
  for (size_t i = 0; i < values.size(); ++i) {
    const unsigned code = values[i] < 0 ? (values[i] < -middle ? 0 : 1) : (values[i] > middle ? 3 : 2);
    bytes[i / 4] |= static_cast<std::byte>(code << (2 * (i % 4)));
  }
}

}  // namespace tern::quant::four_levels
