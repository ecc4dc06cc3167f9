// The oracle's single operations on one model, to recompute one stage from given inputs. Their results equal those of
// the whole pass to the bit.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "tern/base/error.h"
#include "tern/gguf/view.h"
#include "tern/oracle/matrix.h"
#include "tern/oracle/oracle.h"

namespace tern::oracle {

class Steps {
 public:
  // `view` must outlive this. Errors: those of Oracle::load().
  static Result<Steps> load(const gguf::View& view);
  ~Steps();
  Steps(Steps&&) noexcept;
  Steps& operator=(Steps&&) noexcept;

  const gguf::View& view() const;
  const Hyperparameters& hyperparameters() const;

  // The weight that a stage reads, in its layer (-1 outside of the layers); null where it reads none. Logits: the head,
  // which is the embeddings where the file ties them.
  const gguf::Tensor* weight_of(trace::Stage stage, int layer) const;

  // A row of a weight matrix as the model file holds it, decoded and scaled.
  std::vector<double> weight_row(const gguf::Tensor& weight, uint64_t row) const;
  // The scale that stands behind the rows of a ternary tensor; 1 where its format has none.
  double weight_scale(const gguf::Tensor& weight) const;
  // x · weightᵀ, with the activations rounded as the weight's format demands: [n_tokens, weight.n_rows()].
  Matrix project(const Matrix& x, const gguf::Tensor& weight) const;
  // The same with other rows than the file's: `row_of(r, row)` fills in the r-th of `n_rows`.
  using RowOf = std::function<void(uint64_t r, WeightRow& row)>;
  Matrix project(const Matrix& x, const gguf::Tensor& weight, uint64_t n_rows, const RowOf& row_of) const;
  // The activations as they meet this weight: rounded as its format demands, in the unit of `x`.
  Matrix rounded_input(const Matrix& x, const gguf::Tensor& weight) const;
  // x / sqrt(mean(x²) + epsilon) · weight, row by row.
  Matrix norm(const Matrix& x, std::span<const double> weight, double epsilon) const;

 private:
  class Operations;
  explicit Steps(std::unique_ptr<Operations> operations);
  std::unique_ptr<Operations> operations_;
};

}  // namespace tern::oracle
