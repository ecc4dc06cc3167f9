#include "tern/oracle/float32.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tern::oracle {
namespace {

constexpr int kHalfBits = 11;

float narrow(double value) { return static_cast<float>(value); }
double widen(float value) { return static_cast<double>(value); }

}  // namespace

float Float32::dot_product(std::span<const double> a, std::span<const double> b) const {
  const size_t n = rules_.n_partial_sums;
  if (n == 1) {
    float sum = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      sum += narrow(a[i]) * narrow(b[i]);
    }
    return sum;
  }
  std::vector<float> sums(n);
  for (size_t begin = 0; begin < a.size(); begin += n) {
    for (size_t lane = 0; lane < std::min(n, a.size() - begin); ++lane) {
      sums[lane] += narrow(a[begin + lane]) * narrow(b[begin + lane]);
    }
  }
  return std::accumulate(sums.begin(), sums.end(), 0.0F);
}

Oracle::Matrix Float32::norm(const Matrix& x, std::span<const double> weight) const {
  Matrix y(x.n_tokens, x.n_features);
  for (size_t t = 0; t < x.n_tokens; ++t) {
    const float mean = dot_product(x.row(t), x.row(t)) / static_cast<float>(x.n_features);
    const float scale = 1.0F / std::sqrt(mean + narrow(hp_.norm_epsilon));
    for (size_t i = 0; i < x.n_features; ++i) {
      y.row(t)[i] = widen(narrow(x.row(t)[i]) * scale * narrow(weight[i]));
    }
  }
  return y;
}

std::vector<double> Float32::prepare_input(Matrix& x, const gguf::Tensor& weight) const {
  if (weight.format == &quant::kF16) {
    for (double& value : x.values) {
      value = attention_operand(value);
    }
  }
  return Oracle::prepare_input(x, weight);
}

double Float32::dot(const gguf::Tensor&, std::span<const double> row, std::span<const double> input) const {
  return widen(dot_product(row, input));
}

double Float32::scaled(double product, double weight_scale, double unit) const {
  return widen(narrow(product) * narrow(unit) * narrow(weight_scale));
}

// q * 127 / max takes three float32 roundings, each of one part in 2^24, and its values are at most 127. Which of two
// steps a value becomes is a matter of rounding where it is within kUnsure of the middle between them.
double Float32::round_to_step(double steps) const {
  constexpr double kUnsure = 3 * 127.0 / (1 << 24);
  return std::nearbyint(steps + (rules_.ties_up ? kUnsure : -kUnsure));
}

std::pair<double, double> Float32::turned(double a, double b, double angle) const {
  const float x = narrow(a), y = narrow(b);
  const float cosine = std::cos(narrow(angle)), sine = std::sin(narrow(angle));
  return {widen(x * cosine - y * sine), widen(x * sine + y * cosine)};
}

double Float32::rope_angle(size_t position, size_t i) const {
  if (!rules_.iterated_angles) {
    return widen(static_cast<float>(position) *
                 std::pow(narrow(hp_.rope_base), -2.0F * static_cast<float>(i) / static_cast<float>(hp_.head_dim)));
  }
  const float factor = std::pow(narrow(hp_.rope_base), -2.0F / static_cast<float>(hp_.head_dim));
  auto angle = static_cast<float>(position);
  for (size_t step = 0; step < i; ++step) {
    angle *= factor;
  }
  return widen(angle);
}

double Float32::attention_operand(double value) const {
  return rules_.half_operands ? round_to_significant_bits(value, kHalfBits) : value;
}

double Float32::activation(double gate) const {
  const float g = narrow(gate), relu = std::max(g, 0.0F);
  return widen(hp_.relu_squared ? relu * relu : g / (1.0F + std::exp(-g)));
}

}  // namespace tern::oracle
