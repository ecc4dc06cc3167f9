// I8_S: how bitnet.cpp rounds activations in front of I2_S weights, as BitNet models are trained: to int8, with one
// scale for each token. s = 127 / max(|x|, 1e-5), q = round(x * s) with ties to even.
// Source: quantize_row_i8_s in bitnet.cpp's ggml-quants.c.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>

#include "tern/quant/format.h"

namespace tern::quant::i8s {

inline void round_activations(std::span<const float> x, std::span<float> rounded) {
  float largest = 1e-5F;
  for (const float value : x) {
    largest = std::max(largest, std::abs(value));
  }
  const float scale = 127.0F / largest;
  for (size_t i = 0; i < x.size(); ++i) {
    rounded[i] = std::clamp(std::nearbyint(x[i] * scale), -128.0F, 127.0F) / scale;
  }
}

inline constexpr ActivationRule kActivations = {"I8_S", round_activations};

}  // namespace tern::quant::i8s
