// Faults in how the model file is read: what faults.cc's table calls wrong in the weights.
#pragma once

#include <utility>

#include "tern/oracle/faulty.h"

namespace tern::oracle {

inline std::span<const std::byte> i2s_row(const gguf::Tensor& weight, uint64_t row) {
  return weight.data.subspan(row * (weight.n_cols() / 4), weight.n_cols() / 4);
}

// The code that is `place`-th from the top of a byte.
inline double code_in(std::byte byte, uint64_t place) {
  return static_cast<double>(std::to_integer<unsigned>(byte) >> (6 - 2 * place) & 3);
}

// On ARM, bitnet.cpp's blocks are of 64 weights, and it reads files that were packed on x86, in blocks of 128, so too.
class I2sBlockSize final : public Faulty {
 public:
  using Faulty::Faulty;
  WeightRow weight_row(const gguf::Tensor& weight, uint64_t row) const override {
    WeightRow out = Oracle::weight_row(weight, row);
    if (!is_bitnet_cpp_i2s(weight)) {
      return out;
    }
    const auto bytes = i2s_row(weight, row);
    for (uint64_t c = 0; c < weight.n_cols(); ++c) {
      out.weights[c] = code_in(bytes[c / 64 * 16 + c % 16], c % 64 / 16) - 1.0;
    }
    return out;
  }
};

// Each byte taken for four neighbours, instead of weights that are 32 apart.
class I2sUnpackOrder final : public Faulty {
 public:
  using Faulty::Faulty;
  WeightRow weight_row(const gguf::Tensor& weight, uint64_t row) const override {
    WeightRow out = Oracle::weight_row(weight, row);
    if (!is_bitnet_cpp_i2s(weight)) {
      return out;
    }
    const auto bytes = i2s_row(weight, row);
    for (uint64_t c = 0; c < weight.n_cols(); ++c) {
      out.weights[c] = code_in(bytes[c / 4], c % 4) - 1.0;
    }
    return out;
  }
};

// A reader that takes the codes for those of plain 2-bit integers, and knows no scale behind the last row.
class TernaryCodeMap final : public Faulty {
 public:
  using Faulty::Faulty;
  WeightRow weight_row(const gguf::Tensor& weight, uint64_t row) const override {
    WeightRow out = Oracle::weight_row(weight, row);
    if (is_bitnet_cpp_i2s(weight)) {
      for (double& value : out.weights) {
        value -= 1.0;
      }
      out.scale = 1.0;
    }
    return out;
  }
};

// The float32 behind the last row is not read.
class WeightScale final : public Faulty {
 public:
  using Faulty::Faulty;
  WeightRow weight_row(const gguf::Tensor& weight, uint64_t row) const override {
    WeightRow out = Oracle::weight_row(weight, row);
    if (weight.encoding == quant::Encoding::kI2S) {
      out.scale = 1.0;
    }
    return out;
  }
};

class WeightsSwapped final : public Faulty {
 public:
  explicit WeightsSwapped(const Oracle& plain) : Faulty(plain) {
    for (Layer& layer : layers_) {
      std::swap(layer.gate, layer.up);
    }
  }
};

// Converters reorder the rows of Q and K within each head for engines that turn neighbours; here that is done once
// more than it should be.
class QkRowPermutation final : public Faulty {
 public:
  using Faulty::Faulty;
  WeightRow weight_row(const gguf::Tensor& weight, uint64_t row) const override {
    for (const Layer& layer : layers_) {
      if (&weight == layer.q || &weight == layer.k) {
        const auto head_dim = static_cast<uint64_t>(hp_.head_dim);
        const uint64_t i = row % head_dim;
        return Oracle::weight_row(weight, row - i + i % 2 * (head_dim / 2) + i / 2);
      }
    }
    return Oracle::weight_row(weight, row);
  }
};

// The output matrix is in the file, and the embeddings are taken in its place.
class HeadTying final : public Faulty {
 public:
  explicit HeadTying(const Oracle& plain) : Faulty(plain) { head_ = embeddings_; }
};

}  // namespace tern::oracle
