// The oracle's pass in float32, as an engine that is right may compute it. Two such evaluations, which differ
// where right engines differ, show how far rounding alone takes a stage from the exact result: its noise floor.
// They share the order of the steps with the oracle. They also share the sums of its attention, since float16
// does far more to those.
#pragma once

#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "tern/oracle/oracle.h"

namespace tern::oracle {

struct Float32Rules {
  std::string_view name;
  // Queries, keys, values and scores, and activations in front of float16 weights, go through float16, as in engines
  // with a float16 cache.
  bool half_operands = false;
  // int8 activations that float32 does not distinguish from the middle between two steps go to the upper step, or to
  // the lower.
  bool ties_up = false;
  // RoPE's angles by repeated multiplication, as ggml has them, instead of each by a power.
  bool iterated_angles = false;
  size_t n_partial_sums = 1;  // of a dot product: a scalar loop has one, vector units eight and more
};

// "float32-half", "float32-plain"
inline constexpr Float32Rules kFloat32Evaluations[] = {
    {"float32-half", true, true, true, 8},
    {"float32-plain", false, false, false, 1},
};

class Float32 : public Oracle {
 public:
  // `plain` with 24 significant bits in its settings: each stage ends as float32.
  Float32(const Oracle& plain, const Float32Rules& rules) : Oracle(plain), rules_(rules) {
    settings_.significant_bits = 24;
  }

 protected:
  Matrix norm(const Matrix& x, std::span<const double> weight) const override;
  std::vector<double> prepare_input(Matrix& x, const gguf::Tensor& weight) const override;
  double dot(const gguf::Tensor& weight, std::span<const double> row, std::span<const double> input) const override;
  // float32 holds whole numbers up to 2^24.
  bool adds_exactly(size_t n_products) const override {
    return n_products * static_cast<size_t>(kLargestWholeWeight * kLargestWholeInput) <= size_t{1} << 24;
  }
  double scaled(double product, double weight_scale, double unit) const override;
  double round_to_step(double steps) const override;
  std::pair<double, double> turned(double a, double b, double angle) const override;
  double rope_angle(size_t position, size_t i) const override;
  double attention_operand(double value) const override;
  double activation(double gate) const override;

 private:
  float dot_product(std::span<const double> a, std::span<const double> b) const;

  Float32Rules rules_;
};

}  // namespace tern::oracle
