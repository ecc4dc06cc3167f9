// Which kernel multiplies with weights of which format: one table. A product whose format has no row there decodes its
// weights row by row, so that every format of quant/format.h can be computed.
// Called by Multiplier only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tern/base/aligned_vector.h"
#include "tern/kernels/table.h"
#include "tern/model/weights.h"

namespace tern::model {

// The form in which a kernel takes the activations.
enum class ActivationForm {
  kByRule,              // float32, rounded by the format's quant::ActivationRule
  kFloat,               // float32, as they are
  kHalfForSingleToken,  // float32; through float16 where the order of sums is DotOrder::kFour
  kInt8,                // int8 by KernelTable::round_activations
};

struct KernelScratch {
  std::vector<int8_t> levels;   // of one row
  AlignedVector<float> values;  // of kRowsAtOnce rows
};

// Rows [row, row + n_rows) of `w` against n_tokens rows of activations.
struct PartOfProduct {
  const Matrix& w;
  size_t row;
  size_t n_rows;
  size_t n_tokens;
  kernels::DotOrder order;               // of float sums
  const float* x;                        // [n_tokens, w.n_cols]; null for kInt8
  const int8_t* q;                       // [n_tokens, w.n_cols]; kInt8 only
  const kernels::RowRounding* rounding;  // [n_tokens]; kInt8 only
  float* out;                            // out[t * out_stride + r], from the part's first row
  size_t out_stride;
  KernelScratch& scratch;  // of the calling thread
};

struct ProductKernel {
  const quant::Format* format;  // null: of all formats without a row
  ActivationForm activations;
  bool in_ternary_pieces;  // a product with a batch is cut as KernelTable::ternary_piece says
  void (*run)(const kernels::KernelTable& table, const PartOfProduct& part);
};

// The format's row, or the one that decodes rows.
const ProductKernel& product_kernel(const quant::Format& format);

// One row of activations, rounded by the table's kernel for that rule, or by the rule itself where it has none.
void round_by_rule(const kernels::KernelTable& table, const quant::ActivationRule& rule, std::span<const float> x,
                   std::span<float> rounded);

}  // namespace tern::model
