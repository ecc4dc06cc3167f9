// Q8_K: how ggml rounds activations in front of TQ1_0, TQ2_0 and the K-quants: int8 in blocks of 256, with a float32
// scale for each block. The scale is negative where the largest magnitude is positive, so that this value becomes -127.
// Source: quantize_row_q8_K_ref in ggml-quants.c of ggml.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>

#include "tern/quant/format.h"

namespace tern::quant::q8_k {

inline constexpr size_t kBlockCols = 256;

inline void round_block(std::span<const float> x, std::span<float> rounded) {
  const float largest = *std::max_element(x.begin(), x.end(),
                                          [](float a, float b) { return std::abs(a) < std::abs(b); });  // with its sign
  if (largest == 0) {
    std::fill(rounded.begin(), rounded.end(), 0.0F);
    return;
  }
  const float inverse = -127.0F / largest;
  const float step = 1.0F / inverse;
  for (size_t i = 0; i < x.size(); ++i) {
    rounded[i] = std::min(127.0F, std::nearbyint(inverse * x[i])) * step;
  }
}

inline void round_activations(std::span<const float> x, std::span<float> rounded) {
  for (size_t first = 0; first < x.size(); first += kBlockCols) {
    round_block(x.subspan(first, kBlockCols), rounded.subspan(first, kBlockCols));
  }
}

inline constexpr ActivationRule kActivations = {"Q8_K", round_activations};

}  // namespace tern::quant::q8_k
