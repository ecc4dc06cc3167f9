// Q8_0: ggml's blocks of 32 int8 weights behind a float16 scale; also how it rounds activations in front of them.
// Source: quantize_row_q8_0_ref in ggml-quants.c, and for activations quantize_row_q8_0 in ggml-cpu/arch/x86/quants.c
// of ggml. The two differ: the reference divides by the rounded scale and rounds ties away from zero, the kernel
// multiplies by 127 / max and rounds ties to even.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "tern/quant/format.h"
#include "tern/quant/half.h"

namespace tern::quant::q8_0 {

inline constexpr size_t kBlockCols = 32;
inline constexpr size_t kScaleBytes = 2;
inline constexpr size_t kBlockBytes = kScaleBytes + kBlockCols;

inline float largest_magnitude(std::span<const float> x) {
  float largest = 0;
  for (const float value : x) {
    largest = std::max(largest, std::abs(value));
  }
  return largest;
}

inline void decode_row(std::span<const std::byte> row, std::span<const std::byte>, std::span<float> values) {
  for (size_t col = 0; col < values.size(); ++col) {
    const auto block = row.subspan(col / kBlockCols * kBlockBytes, kBlockBytes);
    uint16_t scale = 0;
    std::memcpy(&scale, block.data(), sizeof(scale));
    const auto code = std::to_integer<int8_t>(block[kScaleBytes + col % kBlockCols]);
    values[col] = static_cast<float>(code) * half_to_float(scale);
  }
}

inline void encode_row(std::span<const float> values, float, std::span<std::byte> row) {
  for (size_t first = 0; first < values.size(); first += kBlockCols) {
    const auto x = values.subspan(first, kBlockCols);
    const auto block = row.subspan(first / kBlockCols * kBlockBytes, kBlockBytes);
    const float step = largest_magnitude(x) / 127;
    const float inverse = step == 0 ? 0 : 1.0F / step;
    const uint16_t scale = float_to_half(step);
    std::memcpy(block.data(), &scale, sizeof(scale));
    for (size_t i = 0; i < kBlockCols; ++i) {
      block[kScaleBytes + i] = static_cast<std::byte>(static_cast<int8_t>(std::round(x[i] * inverse)));
    }
  }
}

inline void round_activations(std::span<const float> x, std::span<float> rounded) {
  for (size_t first = 0; first < x.size(); first += kBlockCols) {
    const auto block = x.subspan(first, std::min(kBlockCols, x.size() - first));
    const float largest = largest_magnitude(block);
    const float inverse = largest == 0 ? 0 : 127.0F / largest;
    const float step = half_to_float(float_to_half(largest / 127));
    for (size_t i = 0; i < block.size(); ++i) {
      rounded[first + i] = std::nearbyint(block[i] * inverse) * step;
    }
  }
}

inline constexpr ActivationRule kActivations = {"Q8_0", round_activations};

}  // namespace tern::quant::q8_0
