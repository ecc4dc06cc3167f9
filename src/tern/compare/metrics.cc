#include "tern/compare/metrics.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "tern/base/check.h"

namespace tern::compare {

Metrics measure(std::span<const float> a, std::span<const float> b) {
  TERN_CHECK(a.size() == b.size());
  Metrics metrics;
  metrics.n = a.size();
  double dot = 0, squares_a = 0, squares_b = 0, squares_error = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double x = static_cast<double>(a[i]);
    const double y = static_cast<double>(b[i]);
    const bool same_bits = std::bit_cast<uint32_t>(a[i]) == std::bit_cast<uint32_t>(b[i]);
    metrics.n_different += !same_bits && !(x == y);
    if (!std::isfinite(x) || !std::isfinite(y)) {
      ++metrics.n_non_finite;
      continue;
    }
    const double error = std::fabs(x - y);
    if (error > metrics.max_abs) {
      metrics.max_abs = error;
      metrics.max_abs_index = i;
    }
    dot += x * y;
    squares_a += x * x;
    squares_b += y * y;
    squares_error += error * error;
  }
  if (const uint64_t n_finite = metrics.n - metrics.n_non_finite; n_finite > 0) {
    metrics.rms_error = std::sqrt(squares_error / static_cast<double>(n_finite));
  }
  if (squares_b > 0) {
    metrics.relative_error = std::sqrt(squares_error) / std::sqrt(squares_b);
    if (squares_a > 0) {
      // The product of two sums of float squares stays far inside double's range, and sqrt(s * s) is exactly s, so that
      // equal tensors have a cosine of exactly 1.
      metrics.cosine = std::clamp(dot / std::sqrt(squares_a * squares_b), -1.0, 1.0);
    }
  }
  return metrics;
}

}  // namespace tern::compare
