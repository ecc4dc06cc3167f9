// The three layouts called I2_S, in portable code: pack and unpack, one weight at a time. This is the truth that every
// kernel is tested against; the formats are described in docs/gguf.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tern/quant/encoding.h"

namespace tern::quant {

// Weights in one block: 128, 32 or 256.
int i2s_block_size(I2sLayout layout);
// Bytes of one row of codes (for bitnet32: codes and scales).
uint64_t i2s_row_bytes(I2sLayout layout, uint64_t n_cols);

// The integer factors of one row's weights, before any scale: -1, 0, +1 for bitnet.cpp; -2, -1, +1, +2 for the two
// others. bitnet.cpp's code 3 means nothing; it comes out as +2, which is what bitnet.cpp's dot product makes of it.
// `row`: i2s_row_bytes() bytes. `factors`: one per column.
void i2s_unpack_row(I2sLayout layout, std::span<const std::byte> row, std::span<int8_t> factors);

// The scale that multiplies column `col` of this row: bitnet.cpp's is the tensor's (pass the tail's value in
// `tensor_scale`), bitnet32's is its block's, qk256's is 1.
float i2s_scale_at(I2sLayout layout, std::span<const std::byte> row, uint64_t col, float tensor_scale);

// The float32 in the 32-byte tail behind the last row of a bitnet.cpp tensor.
float i2s_tail_scale(std::span<const std::byte> tensor, uint64_t n_rows, uint64_t n_cols);

// Packs `factors` [n_rows, n_cols], row-major. bitnet.cpp: values -1..1 and `scale` in the tail. bitnet32: values from
// {-2, -1, 1, 2}, `scale` rounded to float16 in each block. qk256: the same values, `scale` must be 1.
// n_cols must be a multiple of the block size, except for qk256, which pads rows.
std::vector<std::byte> i2s_pack(I2sLayout layout, std::span<const int8_t> factors, uint64_t n_rows, uint64_t n_cols,
                                float scale);

// Packs one row as above into `row`, i2s_row_bytes() zero bytes (bitnet.cpp: the tail is the caller's).
void i2s_pack_row(I2sLayout layout, std::span<const int8_t> factors, float scale, std::span<std::byte> row);

}  // namespace tern::quant
