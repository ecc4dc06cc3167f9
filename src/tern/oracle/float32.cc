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
  std::vector<float> sums(rules_.n_partial_sums);
  for (size_t i = 0; i < a.size(); ++i) {
    sums[i % sums.size()] += narrow(a[i]) * narrow(b[i]);
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

Oracle::Matrix Float32::project(const Matrix& x, const gguf::Tensor& weight) const {
  Matrix input = x;
  std::vector<double> units(x.n_tokens, 1.0);
  if (weight.encoding == quant::Encoding::kI2S) {
    units = round_to_int8(input);
  } else if (weight.encoding == quant::Encoding::kF16) {
    for (double& value : input.values) {
      value = attention_operand(value);
    }
  }
  Matrix y(x.n_tokens, weight.n_rows());
  for (uint64_t r = 0; r < weight.n_rows(); ++r) {
    const WeightRow row = weight_row(weight, r);
    for (size_t t = 0; t < x.n_tokens; ++t) {
      y.row(t)[r] = widen(dot_product(row.weights, input.row(t)) * narrow(units[t]) * narrow(row.scale));
    }
  }
  return y;
}

// float32 holds a product like q * 127 / max to one part in 2^24; three roundings of it, and of values up to 127, make
// everything this near to the middle between two steps a matter of rounding.
std::vector<double> Float32::round_to_int8(Matrix& x) const {
  constexpr double kUnsure = 3 * 127.0 / (1 << 24);
  std::vector<double> units;
  for (size_t t = 0; t < x.n_tokens; ++t) {
    double largest = 1e-5;
    for (const double value : x.row(t)) {
      largest = std::max(largest, std::abs(value));
    }
    for (double& value : x.row(t)) {
      const double steps = value * (127.0 / largest);
      value = std::clamp(std::nearbyint(steps + (rules_.ties_up ? kUnsure : -kUnsure)), -128.0, 127.0);
    }
    units.push_back(widen(narrow(largest) / 127.0F));
  }
  return units;
}

void Float32::rope(Matrix& x, int n_heads) const {
  const auto head_dim = static_cast<size_t>(hp_.head_dim);
  for (size_t t = 0; t < x.n_tokens; ++t) {
    for (size_t i = 0; i < head_dim / 2; ++i) {
      const float angle = narrow(rope_angle(rope_position(t), i));
      const float cosine = std::cos(angle), sine = std::sin(angle);
      const size_t first = hp_.rope_neox_pairs ? i : 2 * i;
      const size_t second = hp_.rope_neox_pairs ? i + head_dim / 2 : 2 * i + 1;
      for (size_t h = 0; h < static_cast<size_t>(n_heads); ++h) {
        const auto head = x.row(t).subspan(h * head_dim, head_dim);
        const float a = narrow(head[first]), b = narrow(head[second]);
        head[first] = widen(a * cosine - b * sine);
        head[second] = widen(a * sine + b * cosine);
      }
    }
  }
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

Oracle::Matrix Float32::activate(const Matrix& gate, const Matrix& up) const {
  Matrix out(gate.n_tokens, gate.n_features);
  for (size_t i = 0; i < out.values.size(); ++i) {
    const float g = narrow(gate.values[i]), relu = std::max(g, 0.0F);
    const float activated = hp_.relu_squared ? relu * relu : g / (1.0F + std::exp(-g));
    out.values[i] = widen(activated * narrow(up.values[i]));
  }
  return out;
}

}  // namespace tern::oracle
