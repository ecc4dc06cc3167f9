#include "tern/estimate/least_squares.h"

#include <cmath>
#include <numeric>
#include <utility>

namespace tern::estimate {
namespace {

double dot(std::span<const double> a, std::span<const double> b) {
  return std::transform_reduce(a.begin(), a.end(), b.begin(), 0.0);
}

}  // namespace

// The normal equations, by elimination.
std::vector<double> least_squares(const std::vector<std::span<const double>>& terms, std::span<const double> to) {
  const size_t n = terms.size();
  std::vector<std::vector<double>> a(n);
  std::vector<double> b;
  double largest = 0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      a[i].push_back(dot(terms[i], terms[j]));
    }
    b.push_back(dot(terms[i], to));
    largest = std::max(largest, a[i][i]);
  }
  for (size_t i = 0; i < n; ++i) {
    size_t pivot = i;
    for (size_t j = i + 1; j < n; ++j) {
      pivot = std::abs(a[j][i]) > std::abs(a[pivot][i]) ? j : pivot;
    }
    if (!(std::abs(a[pivot][i]) > 1e-12 * largest)) {
      return {};
    }
    std::swap(a[i], a[pivot]);
    std::swap(b[i], b[pivot]);
    for (size_t j = 0; j < n; ++j) {
      const double by = j == i ? 0 : a[j][i] / a[i][i];
      for (size_t k = i; k < n; ++k) {
        a[j][k] -= by * a[i][k];
      }
      b[j] -= by * b[i];
    }
  }
  for (size_t i = 0; i < n; ++i) {
    b[i] /= a[i][i];
  }
  return b;
}

}  // namespace tern::estimate
