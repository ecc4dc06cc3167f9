// The oracle's pass once more in float32, as an engine that is right may well compute it. Two of them, that differ in
// what such engines differ in, show how far rounding alone takes a stage away from the exact result: its noise floor.
// They share the order of the steps with the oracle and no arithmetic.
#pragma once

#include <string_view>

#include "tern/oracle/oracle.h"

namespace tern::oracle {

struct Float32Rules {
  std::string_view name;
  // Queries, keys, values and scores, and activations in front of float16 weights, go through float16, as in engines
  // with a float16 cache.
  bool half_operands = false;
  // int8 activations that float32 cannot tell from the middle between two steps go to the upper step, or to the lower.
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

class Float32 final : public Oracle {
 public:
  // `plain` with 24 significant bits in its settings: each stage ends as float32.
  Float32(const Oracle& plain, const Float32Rules& rules) : Oracle(plain), rules_(rules) {
    settings_.significant_bits = 24;
  }

 protected:
  Matrix norm(const Matrix& x, std::span<const double> weight) const override;
  Matrix project(const Matrix& x, const gguf::Tensor& weight) const override;
  std::vector<double> round_to_int8(Matrix& x) const override;
  void rope(Matrix& x, int n_heads) const override;
  double rope_angle(size_t position, size_t i) const override;
  double attention_operand(double value) const override;
  Matrix activate(const Matrix& gate, const Matrix& up) const override;

 private:
  float dot_product(std::span<const double> a, std::span<const double> b) const;

  Float32Rules rules_;
};

}  // namespace tern::oracle
