// F16: IEEE binary16. Called through the table of format.h only.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

#include "tern/quant/format.h"
#include "tern/quant/half.h"

namespace tern::quant::f16 {

inline void decode_row(std::span<const std::byte> row, std::span<const std::byte>, std::span<float> values) {
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t half = 0;
    std::memcpy(&half, row.data() + i * sizeof(half), sizeof(half));
    values[i] = half_to_float(half);
  }
}

inline void encode_row(std::span<const float> values, float, std::span<std::byte> row) {
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t half = float_to_half(values[i]);
    std::memcpy(row.data() + i * sizeof(half), &half, sizeof(half));
  }
}

inline void round_activations(std::span<const float> x, std::span<float> rounded) {
  for (size_t i = 0; i < x.size(); ++i) {
    rounded[i] = half_to_float(float_to_half(x[i]));
  }
}

inline constexpr ActivationRule kActivations = {"F16", round_activations};

}  // namespace tern::quant::f16
