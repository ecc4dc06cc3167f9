// The oracle's single operations on one model, for those who recompute one stage from inputs of their own: what they
// make of them is the textbook's, to the bit what the whole pass computes.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "tern/base/error.h"
#include "tern/gguf/view.h"
#include "tern/oracle/oracle.h"

namespace tern::oracle {

// [n_tokens, n_features], row-major.
struct Matrix {
  size_t n_tokens = 0, n_features = 0;
  std::vector<double> values;
  Matrix() = default;
  Matrix(size_t tokens, size_t features) : n_tokens(tokens), n_features(features), values(tokens * features) {}
  std::span<double> row(size_t token) { return {values.data() + token * n_features, n_features}; }
  std::span<const double> row(size_t token) const { return {values.data() + token * n_features, n_features}; }
};

class Steps {
 public:
  // `view` must outlive this. Errors: those of Oracle::load().
  static Result<Steps> load(const gguf::View& view);
  ~Steps();
  Steps(Steps&&) noexcept;
  Steps& operator=(Steps&&) noexcept;

  const gguf::View& view() const;
  const Hyperparameters& hyperparameters() const;

  // A row of a weight matrix as the model file holds it, decoded and scaled.
  std::vector<double> weight_row(const gguf::Tensor& weight, uint64_t row) const;
  // The scale that stands behind the rows of a ternary tensor; 1 where its format has none.
  double weight_scale(const gguf::Tensor& weight) const;
  // x · weightᵀ, with the activations rounded as the weight's format demands: [n_tokens, weight.n_rows()].
  Matrix project(const Matrix& x, const gguf::Tensor& weight) const;
  Matrix norm(const Matrix& x, std::span<const double> weight, double epsilon) const;

 private:
  struct Impl;
  explicit Steps(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tern::oracle
