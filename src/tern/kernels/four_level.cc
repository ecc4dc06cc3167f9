#include "tern/kernels/four_level.h"

#include <algorithm>

#include "tern/quant/i2s.h"

namespace tern::kernels {

void four_level_product(const FourLevelRow& p, std::span<int8_t> factors) {
  quant::i2s_unpack_row(p.layout, p.row, factors);
  const size_t n_cols = factors.size();
  const size_t block_size = p.layout == quant::I2sLayout::kBitNet32F16 ? 32 : n_cols;
  for (size_t t = 0; t < p.n_tokens; ++t) {
    const int8_t* q = p.q + t * n_cols;
    float total = 0;
    for (size_t begin = 0; begin < n_cols; begin += block_size) {
      int32_t sum = 0;
      for (size_t i = begin; i < std::min(n_cols, begin + block_size); ++i) sum += factors[i] * q[i];
      total += static_cast<float>(sum) * quant::i2s_scale_at(p.layout, p.row, begin, 1.0f);
    }
    p.out[t * p.out_stride] = total / p.rounding[t].scale;
  }
}

}  // namespace tern::kernels
