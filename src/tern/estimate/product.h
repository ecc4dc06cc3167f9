// What the estimators of projections and of the head share: a product x · weightᵀ of a stage, and the parts that each
// look for one kind of mistake in it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tern/estimate/estimators.h"

namespace tern::estimate {

struct Product {
  Matrix x;  // before its activations are rounded
  const gguf::Tensor* weight = nullptr;
  double scale = 1;  // Steps::weight_scale()
};
// nullopt where the stage is no product, or its input is not known.
std::optional<Product> product_of(const StageFacts& facts);

// Makes of another stage that is a product, what a proposal makes of this one.
using ProductRule = std::function<std::optional<Matrix>(const Product& product, const StageFacts& facts)>;
Proposal propose(std::string id, Json parameters, std::string says, double simplicity, ProductRule rule);
// The same for one tensor of the file alone, in all passes.
ProductRule only_of(const gguf::Tensor& weight, ProductRule rule);

// `input`, without any rounding, times all rows of the weight: [n_tokens, n_rows].
Matrix multiply(const Matrix& input, const gguf::Tensor& weight);
// The same with these rows of it alone.
Matrix multiply_rows(const Matrix& input, const gguf::Tensor& weight, std::span<const uint64_t> rows);
// `n` rows, or all where there are fewer, evenly spread.
std::vector<uint64_t> spread(uint64_t n_rows, uint64_t n);
// The first `n` rows of a matrix.
Matrix first_tokens(const Matrix& matrix, size_t n);

// The factor that takes `from` nearest to `to`, and how far they are then apart, relative to `to`.
struct Factor {
  double factor = 0, error = 0;
};
Factor best_factor(const Matrix& from, const Matrix& to);

using Proposals = std::vector<Proposal>;
// The whole product times a number, which is named after what it equals.
void propose_factors(const StageFacts& facts, const Product& product, Proposals& proposals);
// Outputs that come from other rows, or from none.
void propose_rows(const StageFacts& facts, const Product& product, Proposals& proposals);
// Few weights that are others.
void propose_weight_values(const StageFacts& facts, const Product& product, Proposals& proposals);
// Heads of the input that meet the columns of another.
void propose_input_heads(const StageFacts& facts, const Product& product, Proposals& proposals);
// Another reading of the weight's bytes.
void propose_readings(const StageFacts& facts, const Product& product, Proposals& proposals);
// Activations that are rounded by another rule.
void propose_roundings(const StageFacts& facts, const Product& product, Proposals& proposals);

// Outputs of the stage that are further from what they should be than rounding explains, for some token. Only
// with values.
std::vector<size_t> wrong_outputs(const StageFacts& facts);

}  // namespace tern::estimate
