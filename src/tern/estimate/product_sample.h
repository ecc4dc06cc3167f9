// What a product looks like on few rows and tokens, to screen readings of its weight. For projection_readings.cc,
// projection_codes.cc and projection_roundings.cc.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "tern/estimate/product.h"

namespace tern::estimate {

using oracle::WeightRow;

inline constexpr double kMuchBetter = 0.05;  // what may be left of the error where a reading is worth a full look

using RowsOf = std::function<void(uint64_t row, WeightRow& out)>;

// A product with such rows, on the activations that meet the weight: [n_tokens, rows.size()].
Matrix multiply_such_rows(const Matrix& input, std::span<const uint64_t> rows, const RowsOf& row_of);

// What a stage looks like on few rows and tokens.
struct Sample {
  std::vector<uint64_t> rows;
  Matrix x, input, is, should;  // `input`: rounded as the format demands
};

// At most so many rows, evenly spread, and the first tokens. Only with values.
Sample sample_of(const StageFacts& facts, const Product& product, uint64_t n_rows, size_t n_tokens);

// Other values in the place of the codes of a ternary weight: measured on the sample, or from RMS alone.
void propose_code_maps(const StageFacts& facts, const Product& product, const std::optional<Sample>& sample,
                       Proposals& proposals);

}  // namespace tern::estimate
