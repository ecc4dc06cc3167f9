// What one stage of the oracle's pass computes.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace tern::oracle {

// [n_tokens, n_features], row-major. Attention scores have a row for each token of each head.
struct Matrix {
  size_t n_tokens = 0, n_features = 0;
  std::vector<double> values;
  Matrix() = default;
  Matrix(size_t tokens, size_t features) : n_tokens(tokens), n_features(features), values(tokens * features) {}
  std::span<double> row(size_t token) { return {values.data() + token * n_features, n_features}; }
  std::span<const double> row(size_t token) const { return {values.data() + token * n_features, n_features}; }
};

}  // namespace tern::oracle
