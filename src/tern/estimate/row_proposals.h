// Proposals where outputs of a product come from other rows than they should. Private to projection_rows.cc.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "tern/estimate/product.h"

namespace tern::estimate {

using Rows = std::vector<size_t>;

// Where an output of the stage came from.
struct RowSource {
  const gguf::Tensor* tensor = nullptr;  // null: it is zero
  size_t row = 0;
  double factor = 1;
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
// `other` is read in the place of `own`: in the same layer of every layer, or in one layer that of another, and the
// other way round.
Proposal swapped_weights(const gguf::Tensor& own, const gguf::Tensor& other);

}  // namespace tern::estimate
