// Faults in how the model file is read: what faults.cc's table calls wrong in the weights.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include "tern/oracle/faulty.h"

namespace tern::oracle {

// What is read of bitnet.cpp's I2_S tensors is changed, row by row.
class I2sRows : public Faulty {
 public:
  using Faulty::Faulty;
  void weight_row(const gguf::Tensor& weight, uint64_t row, WeightRow& out) const final {
    Oracle::weight_row(weight, row, out);
    if (is_bitnet_cpp_i2s(weight)) {
      change(out, weight, row);
    }
  }

 protected:
  virtual void change(WeightRow& out, const gguf::Tensor& weight, uint64_t row) const = 0;
};

// Takes the bytes of an I2_S row for weights in another order.
class I2sOrder : public I2sRows {
 public:
  using I2sRows::I2sRows;

 protected:
  struct Place {
    uint64_t byte;
    uint64_t from_top;  // which pair of bits
  };
  virtual Place place_of(uint64_t column) const = 0;

  void change(WeightRow& out, const gguf::Tensor& weight, uint64_t row) const final {
    const auto bytes = weight.data.subspan(row * (weight.n_cols() / 4), weight.n_cols() / 4);
    for (uint64_t column = 0; column < weight.n_cols(); ++column) {
      const Place place = place_of(column);
      const auto byte = std::to_integer<unsigned>(bytes[place.byte]);
      out.weights[column] = static_cast<double>(byte >> (6 - 2 * place.from_top) & 3) - 1.0;
    }
  }
};

// On ARM, bitnet.cpp's blocks are of 64 weights, and it reads files that were packed on x86, in blocks of 128, so too.
class I2sBlockSize final : public I2sOrder {
 public:
  using I2sOrder::I2sOrder;

 protected:
  Place place_of(uint64_t column) const override { return {column / 64 * 16 + column % 16, column % 64 / 16}; }
};

// Each byte taken for four neighbours, instead of weights that are 32 apart.
class I2sUnpackOrder final : public I2sOrder {
 public:
  using I2sOrder::I2sOrder;

 protected:
  Place place_of(uint64_t column) const override { return {column / 4, column % 4}; }
};

// A reader that takes the codes for those of plain 2-bit integers, and reads no scale behind the last row.
class TernaryCodeMap final : public I2sRows {
 public:
  using I2sRows::I2sRows;

 protected:
  void change(WeightRow& out, const gguf::Tensor&, uint64_t) const override {
    for (double& value : out.weights) {
      value -= 1.0;
    }
    out.scale = 1.0;
  }
};

// The codes taken for the weights: 1 is not subtracted.
class TernaryCodeShift final : public I2sRows {
 public:
  using I2sRows::I2sRows;

 protected:
  void change(WeightRow& out, const gguf::Tensor&, uint64_t) const override {
    for (double& value : out.weights) {
      value += 1.0;
    }
  }
};

// Rows and columns change places: what is stored row by row is read column by column.
class WeightsTransposed final : public I2sRows {
 public:
  using I2sRows::I2sRows;

 protected:
  void change(WeightRow& out, const gguf::Tensor& weight, uint64_t row) const override {
    const std::vector<int8_t>& all = all_weights(weight);
    for (uint64_t column = 0; column < weight.n_cols(); ++column) {
      out.weights[column] = static_cast<double>(all[column * weight.n_rows() + row]);
    }
  }

 private:
  // Of one tensor at a time, as it is used.
  const std::vector<int8_t>& all_weights(const gguf::Tensor& weight) const {
    if (unpacked_ != &weight) {
      weights_.clear();
      WeightRow one;
      for (uint64_t row = 0; row < weight.n_rows(); ++row) {
        decode_row(weight, row, one);
        std::transform(one.weights.begin(), one.weights.end(), std::back_inserter(weights_),
                       [](double value) { return static_cast<int8_t>(value); });
      }
      unpacked_ = &weight;
    }
    return weights_;
  }

  mutable const gguf::Tensor* unpacked_ = nullptr;
  mutable std::vector<int8_t> weights_;
};

// The float32 behind the last row is not read.
class WeightScale final : public I2sRows {
 public:
  using I2sRows::I2sRows;

 protected:
  void change(WeightRow& out, const gguf::Tensor&, uint64_t) const override { out.scale = 1.0; }
};

class WeightsSwapped final : public Faulty {
 public:
  explicit WeightsSwapped(const Oracle& plain) : Faulty(plain) {
    for (Layer& layer : layers_) {
      std::swap(layer.gate, layer.up);
    }
  }
};

// Converters reorder the rows of Q and K within each head for engines that turn neighbours.
class QkRows : public Faulty {
 public:
  using Faulty::Faulty;
  void weight_row(const gguf::Tensor& weight, uint64_t row, WeightRow& out) const final {
    const bool is_q_or_k =
        std::any_of(layers_.begin(), layers_.end(), [&](const Layer& l) { return &weight == l.q || &weight == l.k; });
    const auto head_dim = static_cast<uint64_t>(hp_.head_dim);
    const uint64_t i = row % head_dim;
    Oracle::weight_row(weight, is_q_or_k ? row - i + taken_for(i, head_dim / 2) : row, out);
  }

 protected:
  // The row of the head that is taken for row `i`.
  virtual uint64_t taken_for(uint64_t i, uint64_t half) const = 0;
};

class QkRowPermutation final : public QkRows {
 public:
  using QkRows::QkRows;

 protected:
  uint64_t taken_for(uint64_t i, uint64_t half) const override { return i % 2 * half + i / 2; }
};

class QkRowPermutationUndone final : public QkRows {
 public:
  using QkRows::QkRows;

 protected:
  uint64_t taken_for(uint64_t i, uint64_t half) const override { return i < half ? 2 * i : 2 * (i - half) + 1; }
};

// The output matrix is in the file, and the embeddings are taken in its place.
class HeadTying final : public Faulty {
 public:
  explicit HeadTying(const Oracle& plain) : Faulty(plain) { head_ = embeddings_; }
};

}  // namespace tern::oracle
