// The oracle's own decoders of weights, a row at a time. They share nothing with quant/'s, so that a decoder that is
// wrong cannot stand on both sides of a judgement; a test compares the two on random blocks of every format.
#pragma once

#include <cstdint>
#include <vector>

#include "tern/gguf/view.h"

namespace tern::oracle {

// One row of a weight matrix: weight[c] = weights[c] * scale. For bitnet.cpp's I2_S the weights are -1, 0, +1 and the
// scale is the tensor's; elsewhere the scale is 1.
struct WeightRow {
  std::vector<double> weights;
  double scale = 1.0;
};

// Whether decode_row() can read this format.
bool can_decode(const quant::Format& format);

// Into `out`, whose memory is used again: a matrix has many rows. The tensor's format must be one that can be decoded.
void decode_row(const gguf::Tensor& tensor, uint64_t row, WeightRow& out);

}  // namespace tern::oracle
