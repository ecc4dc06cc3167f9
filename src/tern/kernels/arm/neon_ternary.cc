// NEON with dot products (Armv8.2's sdot): rounding of activations to int8 and products of ternary weights with them.
// One sdot adds the products of 16 codes and activations to 4 lanes of 32 bits, so nothing can wrap before the end.
// Integer sums are exact, so their order is free here; only the last step's float operations are prescribed.
#include <arm_neon.h>

#include "tern/kernels/arm/neon_functions.h"
#include "tern/kernels/arm/neon_lanes.h"

namespace tern::kernels::neon {
namespace {

constexpr size_t kBlock = 128;  // weights in one block: 32 bytes
constexpr size_t kBlockBytes = 32;
constexpr size_t kHalf = 16;             // bytes of a block in one register
constexpr float kRounder = 12582912.0f;  // see scalar.cc

// Of half a block, the 16 codes that belong to the block's weights from 32 * kGroup on. Unsigned shifts of single
// bytes: the top codes need no mask.
template <size_t kGroup>
int8x16_t codes_of(uint8x16_t bytes) {
  if constexpr (kGroup == 0) {
    return vreinterpretq_s8_u8(vshrq_n_u8(bytes, 6));
  } else if constexpr (kGroup == 3) {
    return vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(3)));
  } else {
    return vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(bytes, 6 - 2 * kGroup), vdupq_n_u8(3)));
  }
}

template <size_t kGroup, size_t kRows, size_t kTokens>
void add_group(const uint8x16_t (&bytes)[kRows], const int8_t* q, size_t n_cols, int32x4_t (&sums)[kRows][kTokens]) {
  int8x16_t codes[kRows];
  for (size_t r = 0; r < kRows; ++r) codes[r] = codes_of<kGroup>(bytes[r]);
  for (size_t t = 0; t < kTokens; ++t) {
    const int8x16_t activations = vld1q_s8(q + t * n_cols + 32 * kGroup);
    for (size_t r = 0; r < kRows; ++r) sums[r][t] = vdotq_s32(sums[r][t], codes[r], activations);
  }
}

// kRows rows from `row` on times kTokens tokens from `token` on.
template <size_t kRows, size_t kTokens>
void product_tile(const TernaryProduct& p, size_t row, size_t token) {
  const size_t row_bytes = p.n_cols / 4;
  const uint8_t* codes = p.codes + row * row_bytes;
  const int8_t* q = p.q + token * p.n_cols;
  int32x4_t sums[kRows][kTokens];
  for (auto& row_sums : sums) {
    for (int32x4_t& sum : row_sums) sum = vdupq_n_s32(0);
  }
  // One loop over half blocks: g++ would unroll an inner one, and then keep sums in memory.
  for (size_t at = 0; at < row_bytes; at += kHalf, q += at % kBlockBytes == 0 ? kBlock - kHalf : kHalf) {
    uint8x16_t bytes[kRows];
    for (size_t r = 0; r < kRows; ++r) bytes[r] = vld1q_u8(codes + r * row_bytes + at);
    add_group<0>(bytes, q, p.n_cols, sums);
    add_group<1>(bytes, q, p.n_cols, sums);
    add_group<2>(bytes, q, p.n_cols, sums);
    add_group<3>(bytes, q, p.n_cols, sums);
  }
  for (size_t t = 0; t < kTokens; ++t) {
    const RowRounding rounding = p.rounding[token + t];
    float* out = p.out + (token + t) * p.out_stride + row;
    for (size_t r = 0; r < kRows; ++r) {
      const int32_t sum = vaddvq_s32(sums[r][t]) - rounding.sum;
      out[r] = static_cast<float>(sum) / rounding.scale * p.weight_scale;
    }
  }
}

template <size_t kRows, size_t kTokens>
size_t product_rows(const TernaryProduct& p, size_t row, size_t token) {
  for (; row + kRows <= p.n_rows; row += kRows) product_tile<kRows, kTokens>(p, row, token);
  return row;
}

int32x4_t round_lanes(float32x4_t x, float32x4_t scale, ActivationRounding rounding) {
  const float32x4_t rounder = vdupq_n_f32(kRounder);
  return integer_in_mantissa(rounding == ActivationRounding::kFused ? vfmaq_f32(rounder, x, scale)
                                                                    : vaddq_f32(vmulq_f32(x, scale), rounder));
}

float largest_magnitude(const float* x, size_t n) {
  float32x4_t lanes = vdupq_n_f32(0);
  size_t i = 0;
  for (; i + 4 <= n; i += 4) lanes = larger(vabsq_f32(vld1q_f32(x + i)), lanes);
  float largest = vmaxvq_f32(lanes);
  for (; i < n; ++i) {
    const float magnitude = x[i] < 0 ? -x[i] : x[i];
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest;
}

}  // namespace

RowRounding round_activations(const float* x, size_t n, ActivationRounding rounding, int8_t* q) {
  const float largest = largest_magnitude(x, n);
  const double limit = static_cast<double>(largest) > 1e-5 ? static_cast<double>(largest) : 1e-5;
  const float scale = static_cast<float>(127.0 / limit);
  const float32x4_t scales = vdupq_n_f32(scale);
  int32x4_t sums = vdupq_n_s32(0);
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    int32x4_t rounded[4];
    for (size_t part = 0; part < 4; ++part) rounded[part] = round_lanes(vld1q_f32(x + i + 4 * part), scales, rounding);
    const int8x16_t packed = pack_to_int8(rounded);
    vst1q_s8(q + i, packed);
    sums = vdotq_s32(sums, packed, vdupq_n_s8(1));
  }
  int32_t sum = vaddvq_s32(sums);
  for (; i < n; ++i) {
    const int32_t value = vgetq_lane_s32(round_lanes(vdupq_n_f32(x[i]), scales, rounding), 0);
    const int32_t clamped = value < -128 ? -128 : value > 127 ? 127 : value;
    q[i] = static_cast<int8_t>(clamped);
    sum += clamped;
  }
  return {scale, sum};
}

// Four rows x four tokens take 16 of the 32 registers for sums, and each load and each unpacking serves four products;
// a single token takes eight rows, so that eight sums are under way at a time. Chosen by counting: no ARM machine was
// at hand to time other shapes on.
void ternary_product(const TernaryProduct& p) {
  size_t token = 0;
  for (; token + 4 <= p.n_tokens; token += 4) product_rows<1, 4>(p, product_rows<4, 4>(p, 0, token), token);
  for (; token < p.n_tokens; ++token) product_rows<1, 1>(p, product_rows<8, 1>(p, 0, token), token);
}

}  // namespace tern::kernels::neon
