// Products with the two other layouts that are called I2_S, BitNet32-F16 and QK256: codes for -2, -1, +1, +2. Plain
// portable code, the same for every instruction set; they exist to be checked, not to be raced.
//
// No reference specifies these bits. The activations are rounded to int8 as for bitnet.cpp's layout (table.h), and
//   qk256:     out = float(sum_i w_i * q_i) / s
//   bitnet32:  out = (sum_b float(sum_{i in block b} w_i * q_i) * scale_b) / s, blocks in order, all in float32
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tern/kernels/table.h"
#include "tern/quant/encoding.h"

namespace tern::kernels {

// One row of weights against n_tokens rows of activations: out[t * out_stride].
// row: quant::i2s_row_bytes() bytes. q: [n_tokens, n_cols]. factors: scratch of n_cols.
struct FourLevelRow {
  quant::I2sLayout layout;
  std::span<const std::byte> row;
  const int8_t* q;
  const RowRounding* rounding;
  size_t n_tokens;
  float* out;
  size_t out_stride;
};
void four_level_product(const FourLevelRow& p, std::span<int8_t> factors);

}  // namespace tern::kernels
