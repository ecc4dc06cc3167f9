#include "tern/kernels/four_level.h"

#include "tern/quant/four_levels.h"
#include "tern/quant/i2s_bitnet32.h"

namespace tern::kernels {
namespace {

int32_t dot(std::span<const int8_t> levels, const int8_t* q) {
  int32_t sum = 0;
  for (size_t i = 0; i < levels.size(); ++i) sum += levels[i] * q[i];
  return sum;
}

}  // namespace

void bitnet32_row_product(const FourLevelRow& p, std::span<int8_t> levels) {
  using quant::i2s_bitnet32::kBlockCols;
  quant::i2s_bitnet32::unpack_row(p.row, levels);
  for (size_t t = 0; t < p.n_tokens; ++t) {
    const int8_t* q = p.q + t * levels.size();
    float total = 0;
    for (size_t first = 0; first < levels.size(); first += kBlockCols) {
      const auto sum = static_cast<float>(dot(levels.subspan(first, kBlockCols), q + first));
      total += sum * quant::i2s_bitnet32::block_scale(p.row, first / kBlockCols);
    }
    p.out[t * p.out_stride] = total / p.rounding[t].scale;
  }
}

void qk256_row_product(const FourLevelRow& p, std::span<int8_t> levels) {
  quant::four_levels::unpack(p.row, levels);
  for (size_t t = 0; t < p.n_tokens; ++t) {
    p.out[t * p.out_stride] = static_cast<float>(dot(levels, p.q + t * levels.size())) / p.rounding[t].scale;
  }
}

}  // namespace tern::kernels
