// NEON: a float16 matrix as int8 codes, and products with them (model/greedy_head.h).
#include <arm_neon.h>

#include "tern/kernels/arm/neon_functions.h"
#include "tern/kernels/arm/neon_lanes.h"

namespace tern::kernels::neon {
namespace {

constexpr float kRounder = 12582912.0f;  // see scalar.cc

float largest_magnitude(const uint16_t* row, size_t n) {
  Lanes largest = all_lanes(0);
  for (size_t i = 0; i < n; i += 8) {
    const Lanes value = load_wide(row + i);
    largest = {larger(vabsq_f32(value.low), largest.low), larger(vabsq_f32(value.high), largest.high)};
  }
  return vmaxvq_f32(larger(largest.low, largest.high));
}

int32x4_t round_lanes(float32x4_t value, float inverse) {
  return integer_in_mantissa(vaddq_f32(vmulq_n_f32(value, inverse), vdupq_n_f32(kRounder)));
}

// sum + the products of 16 codes and values.
int32x4_t add_products(int32x4_t sum, int8x16_t codes, int16x8_t x0, int16x8_t x1) {
  const int16x8_t low = vmovl_s8(vget_low_s8(codes));
  const int16x8_t high = vmovl_high_s8(codes);
  sum = vmlal_high_s16(vmlal_s16(sum, vget_low_s16(low), vget_low_s16(x0)), low, x0);
  return vmlal_high_s16(vmlal_s16(sum, vget_low_s16(high), vget_low_s16(x1)), high, x1);
}

template <size_t kRows>
void product_tile(const CoarseProduct& p, size_t row) {
  const int8_t* codes = p.codes + row * p.n_cols;
  int32x4_t sums[kRows];
  for (int32x4_t& sum : sums) sum = vdupq_n_s32(0);
  for (size_t i = 0; i < p.n_cols; i += 16) {
    const int16x8_t x0 = vld1q_s16(p.x + i);
    const int16x8_t x1 = vld1q_s16(p.x + i + 8);
    for (size_t r = 0; r < kRows; ++r) sums[r] = add_products(sums[r], vld1q_s8(codes + r * p.n_cols + i), x0, x1);
  }
  for (size_t r = 0; r < kRows; ++r) p.out[row + r] = vaddvq_s32(sums[r]);
}

}  // namespace

CoarseRow coarsen_row(const uint16_t* row, size_t n, int8_t* codes) {
  const float largest = largest_magnitude(row, n);
  const float limit = largest > 1e-5f ? largest : 1e-5f;
  const float scale = limit / 127.0f;
  const float inverse = 127.0f / limit;
  Lanes errors = all_lanes(0);
  Lanes squares = all_lanes(0);
  for (size_t i = 0; i < n; i += 16) {
    int32x4_t rounded[4];
    for (size_t part = 0; part < 4; part += 2) {
      const Lanes value = load_wide(row + i + 4 * part);
      rounded[part] = round_lanes(value.low, inverse);
      rounded[part + 1] = round_lanes(value.high, inverse);
      const Lanes error = {vfmsq_n_f32(value.low, vcvtq_f32_s32(rounded[part]), scale),
                           vfmsq_n_f32(value.high, vcvtq_f32_s32(rounded[part + 1]), scale)};
      errors = multiply_add(errors, error, error);
      squares = multiply_add(squares, value, value);
    }
    vst1q_s8(codes + i, pack_to_int8(rounded));
  }
  return {scale, sum_halves_first(errors), sum_halves_first(squares)};
}

void coarse_product(const CoarseProduct& p) {
  size_t row = 0;
  for (; row + 4 <= p.n_rows; row += 4) product_tile<4>(p, row);
  for (; row < p.n_rows; ++row) product_tile<1>(p, row);
}

}  // namespace tern::kernels::neon
