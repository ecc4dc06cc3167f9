// Products with the two layouts of I2_S that BitNet-rs writes, BitNet32-F16 and QK256, whose codes stand for -2, -1,
// +1, +2. Portable code, the same for every instruction set.
//
// No reference specifies these bits. The activations are rounded to int8 as for bitnet.cpp's layout (table.h), and
//   qk256:     out = float(sum_i w_i * q_i) / s
//   bitnet32:  out = (sum_b float(sum_{i in block b} w_i * q_i) * scale_b) / s, blocks in order, all in float32
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tern/kernels/table.h"

namespace tern::kernels {

// One row of weights against n_tokens rows of activations: out[t * out_stride].
// row: quant::Format::row_bytes() bytes. q: [n_tokens, n_cols].
struct FourLevelRow {
  std::span<const std::byte> row;
  const int8_t* q;
  const RowRounding* rounding;
  size_t n_tokens;
  float* out;
  size_t out_stride;
};

// levels: scratch of n_cols elements.
void bitnet32_row_product(const FourLevelRow& p, std::span<int8_t> levels);
void qk256_row_product(const FourLevelRow& p, std::span<int8_t> levels);

}  // namespace tern::kernels
