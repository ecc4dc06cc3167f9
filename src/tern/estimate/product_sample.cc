#include "tern/estimate/product_sample.h"

#include <algorithm>
#include <numeric>

#include "tern/estimate/numerics.h"

namespace tern::estimate {

Matrix multiply_such_rows(const Matrix& input, std::span<const uint64_t> rows, const RowsOf& row_of) {
  Matrix y(input.n_tokens, rows.size());
  WeightRow row;
  for (size_t i = 0; i < rows.size(); ++i) {
    row_of(rows[i], row);
    for (size_t t = 0; t < input.n_tokens; ++t) {
      y.row(t)[i] =
          row.scale * std::transform_reduce(row.weights.begin(), row.weights.end(), input.row(t).begin(), 0.0);
    }
  }
  return y;
}

Sample sample_of(const StageFacts& facts, const Product& product, uint64_t n_rows, size_t n_tokens) {
  Sample sample;
  sample.rows = spread(product.weight->n_rows(), n_rows);
  sample.x = first_tokens(product.x, n_tokens);
  sample.input = facts.steps().rounded_input(sample.x, *product.weight);
  sample.is = first_tokens(columns_of(*facts.is(), sample.rows), n_tokens);
  sample.should = first_tokens(columns_of(facts.should(), sample.rows), n_tokens);
  return sample;
}

}  // namespace tern::estimate
