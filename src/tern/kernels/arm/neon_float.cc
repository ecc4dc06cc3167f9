// NEON: everything in float32. Lanes, accumulators and horizontal sums are those of the specification, so each function
// gives the bits of its counterpart in scalar.cc. Needs nothing beyond Armv8.0.
#include <arm_neon.h>
#include <math.h>

#include "tern/kernels/arm/neon_functions.h"
#include "tern/kernels/arm/neon_lanes.h"

namespace tern::kernels::neon {
namespace {

float widen(uint16_t half) { return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half))), 0); }

uint16x4_t narrow(float32x4_t value) { return vreinterpret_u16_f16(vcvt_f16_f32(value)); }
uint16_t narrow(float value) { return vget_lane_u16(narrow(vdupq_n_f32(value)), 0); }

float add_leftovers(float sum, const uint16_t* a, const float* b, size_t n) {
  double total = static_cast<double>(sum);
  for (size_t i = 0; i < n; ++i) total += static_cast<double>(widen(a[i]) * b[i]);
  return static_cast<float>(total);
}
float add_leftovers(float sum, const float* a, const float* b, size_t n) {
  for (size_t i = 0; i < n; ++i) sum = fmaf(a[i], b[i], sum);
  return sum;
}

// kA rows of a times kB rows of b, one accumulator each.
template <size_t kA, size_t kB, class A>
void dot_one_tile(const DotProducts<A>& p, size_t i, size_t j) {
  Lanes lanes[kA][kB];
  for (auto& row : lanes) {
    for (Lanes& lane : row) lane = all_lanes(0);
  }
  const A* a = p.a + i * p.a_stride;
  const float* b = p.b + j * p.b_stride;
  for (size_t k = 0; k < p.length; k += 8) {
    Lanes bs[kB];
    for (size_t jb = 0; jb < kB; ++jb) bs[jb] = load_wide(b + jb * p.b_stride + k);
    for (size_t ia = 0; ia < kA; ++ia) {
      const Lanes wide = load_wide(a + ia * p.a_stride + k);
      for (size_t jb = 0; jb < kB; ++jb) lanes[ia][jb] = multiply_add(lanes[ia][jb], wide, bs[jb]);
    }
  }
  for (size_t jb = 0; jb < kB; ++jb) {
    float* out = p.out + (j + jb) * p.out_stride + i;
    for (size_t ia = 0; ia < kA; ++ia) out[ia] = sum_halves_first(lanes[ia][jb]);
  }
}

// kA rows of a times kB rows of b, four accumulators each.
template <size_t kA, size_t kB, class A>
void dot_four_tile(const DotProducts<A>& p, size_t i, size_t j) {
  Lanes lanes[kA][kB][4];
  for (auto& row : lanes) {
    for (auto& product : row) {
      for (Lanes& lane : product) lane = all_lanes(0);
    }
  }
  const A* a = p.a + i * p.a_stride;
  const float* b = p.b + j * p.b_stride;
  const size_t whole = p.length - p.length % 32;
  for (size_t k = 0; k < whole; k += 32) {
    for (size_t part = 0; part < 4; ++part) {
      const size_t at = k + 8 * part;
      Lanes bs[kB];
      for (size_t jb = 0; jb < kB; ++jb) bs[jb] = load_wide(b + jb * p.b_stride + at);
      for (size_t ia = 0; ia < kA; ++ia) {
        const Lanes wide = load_wide(a + ia * p.a_stride + at);
        for (size_t jb = 0; jb < kB; ++jb) lanes[ia][jb][part] = multiply_add(lanes[ia][jb][part], wide, bs[jb]);
      }
    }
  }
  for (size_t jb = 0; jb < kB; ++jb) {
    float* out = p.out + (j + jb) * p.out_stride + i;
    for (size_t ia = 0; ia < kA; ++ia) {
      const Lanes(&l)[4] = lanes[ia][jb];
      const float sum = sum_neighbours_first(add(add(l[0], l[2]), add(l[1], l[3])));
      out[ia] = add_leftovers(sum, a + ia * p.a_stride + whole, b + jb * p.b_stride + whole, p.length - whole);
    }
  }
}

template <size_t kA, size_t kB, class A>
size_t dot_one_rows(const DotProducts<A>& p, size_t i, size_t j) {
  for (; i + kA <= p.n_a; i += kA) dot_one_tile<kA, kB>(p, i, j);
  return i;
}

template <size_t kA, size_t kB, class A>
size_t dot_four_rows(const DotProducts<A>& p, size_t i, size_t j) {
  for (; i + kA <= p.n_a; i += kA) dot_four_tile<kA, kB>(p, i, j);
  return i;
}

// Tiles that leave enough of the 32 registers for what is loaded: 18 or 16 of them hold sums.
template <class A>
void dot_products(DotOrder order, const DotProducts<A>& p) {
  size_t j = 0;
  if (order == DotOrder::kOne) {
    for (; j + 3 <= p.n_b; j += 3) dot_one_rows<1, 3>(p, dot_one_rows<3, 3>(p, 0, j), j);
    for (; j < p.n_b; ++j) dot_one_rows<1, 1>(p, dot_one_rows<8, 1>(p, 0, j), j);
    return;
  }
  for (; j + 2 <= p.n_b; j += 2) dot_four_rows<1, 2>(p, 0, j);
  for (; j < p.n_b; ++j) dot_four_rows<1, 1>(p, dot_four_rows<2, 1>(p, 0, j), j);
}

// One pair of each lane, turned.
void turn(float32x4_t& first, float32x4_t& second, const float* cosine, const float* sine) {
  const float32x4_t c = vld1q_f32(cosine);
  const float32x4_t s = vld1q_f32(sine);
  const float32x4_t x0 = first;
  first = vfmaq_f32(vnegq_f32(vmulq_f32(second, s)), x0, c);
  second = vfmaq_f32(vmulq_f32(second, c), x0, s);
}

}  // namespace

void half_to_float(const uint16_t* in, size_t n, float* out) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) store(out + i, load_wide(in + i));
  for (; i < n; ++i) out[i] = widen(in[i]);
}

void float_to_half(const float* in, size_t n, uint16_t* out) {
  size_t i = 0;
  for (; i + 4 <= n; i += 4) vst1_u16(out + i, narrow(vld1q_f32(in + i)));
  for (; i < n; ++i) out[i] = narrow(in[i]);
}

void round_to_half(const float* in, size_t n, float* out) {
  size_t i = 0;
  for (; i + 4 <= n; i += 4) vst1q_f32(out + i, vcvt_f32_f16(vcvt_f16_f32(vld1q_f32(in + i))));
  for (; i < n; ++i) out[i] = widen(narrow(in[i]));
}

void dot_f16(DotOrder order, const DotProducts<uint16_t>& p) { dot_products(order, p); }
void dot_f32(DotOrder order, const DotProducts<float>& p) { dot_products(order, p); }

void rope(RopePairs pairs, const float* cosine, const float* sine, size_t n_pairs, float* head) {
  const bool halves = pairs == RopePairs::kHalves;
  size_t i = 0;
  for (; i + 4 <= n_pairs; i += 4) {
    if (halves) {
      float32x4_t first = vld1q_f32(head + i);
      float32x4_t second = vld1q_f32(head + n_pairs + i);
      turn(first, second, cosine + i, sine + i);
      vst1q_f32(head + i, first);
      vst1q_f32(head + n_pairs + i, second);
    } else {
      float32x4x2_t both = vld2q_f32(head + 2 * i);
      turn(both.val[0], both.val[1], cosine + i, sine + i);
      vst2q_f32(head + 2 * i, both);
    }
  }
  for (; i < n_pairs; ++i) {
    float* first = head + (halves ? i : 2 * i);
    float* second = head + (halves ? i + n_pairs : 2 * i + 1);
    const float x0 = *first;
    const float x1 = *second;
    *first = fmaf(x0, cosine[i], -(x1 * sine[i]));
    *second = fmaf(x0, sine[i], x1 * cosine[i]);
  }
}

}  // namespace tern::kernels::neon
