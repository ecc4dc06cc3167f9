// What the NEON files share: the specification's eight lanes in two registers, loads that widen, and sums over the
// lanes in the orders of the specification.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace tern::kernels::neon {

struct Lanes {
  float32x4_t low;   // lanes 0 to 3
  float32x4_t high;  // lanes 4 to 7
};

static inline Lanes all_lanes(float value) { return {vdupq_n_f32(value), vdupq_n_f32(value)}; }

static inline Lanes load_wide(const float* at) { return {vld1q_f32(at), vld1q_f32(at + 4)}; }
static inline Lanes load_wide(const uint16_t* at) {
  const float16x8_t halves = vreinterpretq_f16_u16(vld1q_u16(at));
  return {vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)};
}

static inline void store(float* at, Lanes v) {
  vst1q_f32(at, v.low);
  vst1q_f32(at + 4, v.high);
}

// sum + a * b, rounded once.
static inline Lanes multiply_add(Lanes sum, Lanes a, Lanes b) {
  return {vfmaq_f32(sum.low, a.low, b.low), vfmaq_f32(sum.high, a.high, b.high)};
}
static inline Lanes add(Lanes a, Lanes b) { return {vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)}; }

// ((v0+v4) + (v1+v5)) + ((v2+v6) + (v3+v7))
static inline float sum_neighbours_first(Lanes v) {
  const float32x4_t p = vaddq_f32(v.low, v.high);
  return vpadds_f32(vget_low_f32(vpaddq_f32(p, p)));
}

// ((v0+v4) + (v2+v6)) + ((v1+v5) + (v3+v7))
static inline float sum_halves_first(Lanes v) {
  const float32x4_t p = vaddq_f32(v.low, v.high);
  return vpadds_f32(vadd_f32(vget_low_f32(p), vget_high_f32(p)));
}

// a > b ? a : b in each lane, as scalar.cc writes it: a NaN in `a` is passed over. (vmaxnmq_f32 would keep a
// signalling one.)
static inline float32x4_t larger(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }

// The integer that adding scalar.cc's kRounder has left in the mantissa.
static inline int32x4_t integer_in_mantissa(float32x4_t shifted) {
  const int32x4_t mantissa = vandq_s32(vreinterpretq_s32_f32(shifted), vdupq_n_s32(0x7fffff));
  return vsubq_s32(mantissa, vdupq_n_s32(0x400000));
}

// Sixteen integers in order, clamped to int8.
static inline int8x16_t pack_to_int8(const int32x4_t (&v)[4]) {
  const int16x8_t low = vqmovn_high_s32(vqmovn_s32(v[0]), v[1]);
  const int16x8_t high = vqmovn_high_s32(vqmovn_s32(v[2]), v[3]);
  return vqmovn_high_s16(vqmovn_s16(low), high);
}

}  // namespace tern::kernels::neon
