#include "tern/estimate/common_ratio.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

namespace tern::estimate {
namespace {

using oracle::Matrix;

constexpr size_t kSample = 24;  // columns that are looked at, the largest ones
// Equations that a ratio must fulfil besides those that determine it and the row.
constexpr size_t kSpareEquations = 3;
constexpr size_t kColumnsOfOneToken = 8;  // with one token, any two columns have a ratio

// The column times `ratio` is, within tolerance, the sampled one.
struct Match {
  double ratio = 0;
  size_t column = 0;
  double both = 0, own = 0;  // inner products: their quotient is the ratio
};

double square_of(const Matrix& matrix, size_t column) {
  double sum = 0;
  for (size_t t = 0; t < matrix.n_tokens; ++t) {
    sum += matrix.row(t)[column] * matrix.row(t)[column];
  }
  return sum;
}

std::optional<Match> match(const Matrix& is, size_t column, const Matrix& outputs, size_t row, double tolerance) {
  Match found{0, column, 0, square_of(outputs, row)};
  for (size_t t = 0; t < is.n_tokens; ++t) {
    found.both += is.row(t)[column] * outputs.row(t)[row];
  }
  if (!(found.own > 0) || found.both == 0) {
    return std::nullopt;
  }
  found.ratio = found.both / found.own;
  for (size_t t = 0; t < is.n_tokens; ++t) {
    if (!(std::abs(is.row(t)[column] - found.ratio * outputs.row(t)[row]) <= tolerance)) {
      return std::nullopt;
    }
  }
  return found;
}

std::vector<size_t> largest(const Matrix& is, std::span<const size_t> columns) {
  std::vector<std::pair<double, size_t>> sized;
  for (const size_t column : columns) {
    sized.emplace_back(-square_of(is, column), column);
  }
  std::sort(sized.begin(), sized.end());
  sized.resize(std::min(sized.size(), kSample));
  std::vector<size_t> sample;
  for (const auto& [size, column] : sized) {
    sample.push_back(column);
  }
  return sample;
}

}  // namespace

std::optional<double> common_ratio(const Matrix& is, std::span<const size_t> columns, const Matrix& outputs,
                                   double tolerance) {
  const std::vector<size_t> sample = largest(is, columns);
  std::vector<Match> matches;
  for (const size_t column : sample) {
    for (size_t row = 0; row < outputs.n_features; ++row) {
      if (const auto found = match(is, column, outputs, row, tolerance)) {
        matches.push_back(*found);
      }
    }
  }
  if (matches.empty()) {
    return std::nullopt;
  }
  std::sort(matches.begin(), matches.end(), [](const Match& a, const Match& b) { return a.ratio < b.ratio; });
  // How far two measurements of one ratio may be apart: by the smallest of the sampled columns.
  const double width = std::max(1e-6, 2 * tolerance / std::sqrt(square_of(is, sample.back())));
  std::map<size_t, size_t> seen;  // columns of the matches from `first` on: how often
  size_t first = 0, best_first = 0, best_last = 0, most = 0;
  for (size_t last = 0; last < matches.size(); ++last) {
    ++seen[matches[last].column];
    while (matches[last].ratio - matches[first].ratio > width * std::abs(matches[last].ratio)) {
      const auto gone = seen.find(matches[first++].column);
      if (--gone->second == 0) {
        seen.erase(gone);
      }
    }
    if (seen.size() > most) {
      most = seen.size();
      best_first = first;
      best_last = last;
    }
  }
  if (most * (is.n_tokens - 1) < kSpareEquations && most < kColumnsOfOneToken) {
    return std::nullopt;
  }
  double both = 0, own = 0;
  for (size_t i = best_first; i <= best_last; ++i) {
    both += matches[i].both;
    own += matches[i].own;
  }
  return both / own;
}

}  // namespace tern::estimate
