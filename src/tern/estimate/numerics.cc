#include "tern/estimate/numerics.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <utility>

#include "tern/quant/half.h"

namespace tern::estimate {
namespace {

// Rounded to so many significant digits.
double with_digits(double value, int digits) {
  if (value == 0 || !std::isfinite(value)) {
    return value;
  }
  // A power of ten below 1 is not exact, and its inverse is.
  const int places = digits - 1 - static_cast<int>(std::floor(std::log10(std::abs(value))));
  const double power = std::pow(10.0, std::abs(places));
  return places >= 0 ? std::nearbyint(value * power) / power : std::nearbyint(value / power) * power;
}

double finite_or_infinite(double x) { return std::isfinite(x) ? x : kInfinity; }

}  // namespace

Matrix columns_of(const Matrix& matrix, std::span<const uint64_t> columns) {
  Matrix part(matrix.n_tokens, columns.size());
  for (size_t t = 0; t < matrix.n_tokens; ++t) {
    std::transform(columns.begin(), columns.end(), part.row(t).begin(),
                   [row = matrix.row(t)](uint64_t column) { return row[column]; });
  }
  return part;
}

Matrix multiplied(Matrix x, double factor) {
  std::transform(x.values.begin(), x.values.end(), x.values.begin(), [factor](double value) { return value * factor; });
  return x;
}

double rms_of(const Matrix& x) {
  const double sum = std::transform_reduce(x.values.begin(), x.values.end(), x.values.begin(), 0.0);
  return x.values.empty() ? 0 : std::sqrt(sum / static_cast<double>(x.values.size()));
}

double as_bfloat16(double x) {
  auto bits = std::bit_cast<uint32_t>(static_cast<float>(x));
  bits = (bits + 0x7fffU + (bits >> 16 & 1U)) & 0xffff0000U;
  return static_cast<double>(std::bit_cast<float>(bits));
}

double as_float16(double x) {
  return static_cast<double>(quant::half_to_float(quant::float_to_half(static_cast<float>(x))));
}

double cut_to_bfloat16(double x) {
  const auto bits = std::bit_cast<uint32_t>(static_cast<float>(x)) & 0xffff0000U;
  return static_cast<double>(std::bit_cast<float>(bits));
}

double cut_to_float16(double x) {
  const uint16_t nearest = quant::float_to_half(static_cast<float>(x));
  const bool is_beyond = std::abs(quant::half_to_float(nearest)) > std::abs(static_cast<float>(x));
  // The number before it, towards zero; before infinity, the largest one.
  return static_cast<double>(quant::half_to_float(static_cast<uint16_t>(is_beyond ? nearest - 1 : nearest)));
}

double relative_error(const Matrix& a, const Matrix& b) {
  if (a.n_tokens != b.n_tokens || a.n_features != b.n_features) {
    return kInfinity;
  }
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.values.size(); ++i) {
    difference += (a.values[i] - b.values[i]) * (a.values[i] - b.values[i]);
    size += b.values[i] * b.values[i];
  }
  return difference == 0 ? 0 : finite_or_infinite(std::sqrt(difference / size));
}

double misfit(const StageFacts& facts, const Matrix& y) {
  if (facts.is()) {
    return relative_error(y, *facts.is());
  }
  const std::optional<double> rms = facts.rms();
  if (!rms) {
    return kInfinity;
  }
  const double difference = std::abs(rms_of(y) - *rms);
  return difference == 0 ? 0 : finite_or_infinite(difference / *rms);
}

bool measurable(const StageFacts& facts) {
  const auto finite = [](const Matrix& x) {
    return std::all_of(x.values.begin(), x.values.end(), [](double value) { return std::isfinite(value); });
  };
  const bool is_finite = facts.is() ? finite(*facts.is()) : facts.rms() && std::isfinite(*facts.rms());
  return is_finite && finite(facts.should());
}

std::vector<Proposal> explaining(std::vector<Proposal> proposals, const StageFacts& facts) {
  constexpr double kLeftOver = 0.2, kRounding = 2e-7;  // of the error; of float32
  const double error = misfit(facts, facts.should());
  std::vector<std::pair<double, Proposal>> found;
  for (Proposal& proposal : proposals) {
    const std::optional<Matrix> y = proposal.recompute(facts);
    const double left = y ? misfit(facts, *y) : kInfinity;
    if (error > kRounding && left <= kLeftOver * error) {
      found.emplace_back(left, std::move(proposal));
    }
  }
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  proposals.clear();
  for (auto& [left, proposal] : found) {
    proposals.push_back(std::move(proposal));
  }
  return proposals;
}

double shortest_within(double value, double uncertainty) {
  if (std::abs(value) <= uncertainty) {
    return 0;
  }
  for (int digits = 1; digits <= 15; ++digits) {
    const double rounded = with_digits(value, digits);
    if (std::abs(rounded - value) <= uncertainty) {
      return rounded;
    }
  }
  return value;
}

double shortest_that_fits(double value, const std::function<double(double)>& f) {
  constexpr double kAllowance = 1.01;
  const double best = f(value);
  if (f(0) <= kAllowance * best) {
    return 0;
  }
  for (int digits = 1; digits <= 9; ++digits) {
    const double rounded = with_digits(value, digits);
    if (f(rounded) <= kAllowance * best) {
      return rounded;
    }
  }
  return value;
}

std::vector<double> geometric_grid(double low, double high, size_t n) {
  std::vector<double> grid(n);
  for (size_t i = 0; i < n; ++i) {
    grid[i] = low * std::pow(high / low, static_cast<double>(i) / static_cast<double>(n - 1));
  }
  return grid;
}

std::vector<double> roots(const std::function<double(double)>& f, std::span<const double> grid) {
  constexpr int kHalvings = 60;
  std::vector<double> found;
  double before = 0;
  for (size_t i = 0; i < grid.size(); ++i) {
    const double here = f(grid[i]);
    if (here == 0) {
      found.push_back(grid[i]);
    } else if (i > 0 && before * here < 0) {
      double low = grid[i - 1], high = grid[i];
      for (int n = 0; n < kHalvings && high - low > 1e-14 * std::abs(high); ++n) {
        const double middle = (low + high) / 2;
        (f(middle) * before > 0 ? low : high) = middle;
      }
      found.push_back((low + high) / 2);
    }
    before = here;
  }
  return found;
}

double argmin(const std::function<double(double)>& f, std::span<const double> grid) {
  size_t best = 0;
  double least = kInfinity;
  for (size_t i = 0; i < grid.size(); ++i) {
    if (const double here = f(grid[i]); here < least) {
      least = here;
      best = i;
    }
  }
  // Golden section.
  constexpr double kRatio = 0.6180339887498949;
  constexpr int kSteps = 80;
  double low = grid[best == 0 ? 0 : best - 1], high = grid[std::min(best + 1, grid.size() - 1)];
  double a = high - kRatio * (high - low), b = low + kRatio * (high - low);
  double f_a = f(a), f_b = f(b);
  for (int n = 0; n < kSteps && high - low > 1e-13 * (std::abs(low) + std::abs(high)); ++n) {
    if (f_a < f_b) {
      high = std::exchange(b, a);
      f_b = std::exchange(f_a, f(a = high - kRatio * (high - low)));
    } else {
      low = std::exchange(a, b);
      f_a = std::exchange(f_b, f(b = low + kRatio * (high - low)));
    }
  }
  const double refined = f_a < f_b ? a : b;
  return std::min(f_a, f_b) <= least ? refined : grid[best];
}

Line fit_line(std::span<const double> x, std::span<const double> y, std::span<const double> weights) {
  double w = 0, wx = 0, wy = 0;
  const auto weight = [&](size_t i) { return weights.empty() ? 1.0 : weights[i]; };
  for (size_t i = 0; i < x.size(); ++i) {
    w += weight(i);
    wx += weight(i) * x[i];
    wy += weight(i) * y[i];
  }
  if (!(w > 0)) {
    return {};
  }
  const double mean_x = wx / w, mean_y = wy / w;
  double xx = 0, xy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += weight(i) * (x[i] - mean_x) * (x[i] - mean_x);
    xy += weight(i) * (x[i] - mean_x) * (y[i] - mean_y);
  }
  const double slope = xx > 0 ? xy / xx : 0;
  return {slope, mean_y - slope * mean_x};
}

}  // namespace tern::estimate
