// Proposals where outputs of a product come from other rows than they should. Private to projection_rows.cc.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "tern/estimate/product.h"

namespace tern::estimate {

using Rows = std::vector<size_t>;

// Which scale meets the codes of another matrix: its own, that of the matrix in whose place it is read, or a number.
enum class ScaleOf { kRead, kOwn, kNumber };
struct BorrowedScale {
  ScaleOf of = ScaleOf::kRead;
  double factor = 1;  // kNumber: of the other matrix's outputs
};
inline constexpr BorrowedScale kScaleOfRead;
// What a factor that was measured between the outputs and those of `read` equals.
BorrowedScale borrowed_scale(const oracle::Steps& steps, const Product& product, const gguf::Tensor& read,
                             double measured);
// By what the outputs of `read` are multiplied.
double factor_of(const oracle::Steps& steps, const Product& product, const gguf::Tensor& read,
                 const BorrowedScale& scale);

// Where an output of the stage came from.
struct RowSource {
  const gguf::Tensor* tensor = nullptr;  // null: it is zero
  size_t row = 0;
  double factor = 1;
  ScaleOf scale = ScaleOf::kRead;
};
using RowSources = std::map<size_t, RowSource>;  // by output; those that are right are left out
// The outputs that `sources` has an entry for.
Rows keys_of(const RowSources& sources);

// These rows give zero.
void propose_zero_rows(const StageFacts& facts, const Product& product, const Rows& rows, Proposals& proposals);
// From RMS alone: how many rows are missing, where they are the last ones.
void propose_missing_tail(const StageFacts& facts, const Product& product, Proposals& proposals);
// All wrong outputs are of other rows of the same matrix.
void propose_own_rows(const StageFacts& facts, const Product& product, const RowSources& sources, Proposals& proposals);
// The wrong outputs are rows of several matrices, zero, or rows times a number.
void propose_mixed_rows(const Product& product, const RowSources& sources, Proposals& proposals);

// One of the two reorderings of rows within heads that converters make.
Proposal pair_order_proposal(const Product& product, size_t head_dim, bool undone);
// `other` is read in the place of the product's weight: in the same layer of every layer, or in one layer that of
// another, and the other way round.
void propose_swapped(const Product& product, const gguf::Tensor& other, const BorrowedScale& scale, double simplicity,
                     Proposals& proposals);

}  // namespace tern::estimate
