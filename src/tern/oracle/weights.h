// How the oracle reads the model file: hyperparameters, and weights decoded a row at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tern/gguf/view.h"

namespace tern::oracle {

// One row of a weight matrix: weight[c] = weights[c] * scale. For bitnet.cpp's I2_S the weights are -1, 0, +1 and the
// scale is the tensor's; elsewhere the scale is 1.
struct WeightRow {
  std::vector<double> weights;
  double scale = 1.0;
  std::vector<int8_t> factors;  // room to decode in
};
// Into `out`, whose memory is used again: a matrix has many rows.
void decode_row(const gguf::Tensor& tensor, const gguf::View& view, uint64_t row, WeightRow& out);

}  // namespace tern::oracle
