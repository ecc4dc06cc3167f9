// AVX2: everything in float32. Lanes, accumulators and horizontal sums are those of the specification, so each function
// gives the bits of its counterpart in scalar.cc.
#include <immintrin.h>
#include <math.h>

#include "tern/kernels/glibc_exp.h"
#include "tern/kernels/x86/avx2_functions.h"
#include "tern/kernels/x86/avx2_lanes.h"

namespace tern::kernels::avx2 {
namespace {

float widen(uint16_t half) { return _cvtsh_ss(half); }
uint16_t narrow(float value) {
  const __m128i halves = _mm_cvtps_ph(_mm_set_ss(value), _MM_FROUND_TO_NEAREST_INT);
  return static_cast<uint16_t>(_mm_extract_epi16(halves, 0));
}

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
  __m256 lanes[kA][kB];
  for (auto& row : lanes) {
    for (__m256& lane : row) lane = _mm256_setzero_ps();
  }
  const A* a = p.a + i * p.a_stride;
  const float* b = p.b + j * p.b_stride;
  for (size_t k = 0; k < p.length; k += 8) {
    __m256 bs[kB];
    for (size_t jb = 0; jb < kB; ++jb) bs[jb] = _mm256_loadu_ps(b + jb * p.b_stride + k);
    for (size_t ia = 0; ia < kA; ++ia) {
      const __m256 wide = load_wide(a + ia * p.a_stride + k);
      for (size_t jb = 0; jb < kB; ++jb) lanes[ia][jb] = _mm256_fmadd_ps(wide, bs[jb], lanes[ia][jb]);
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
  __m256 lanes[kA][kB][4];
  for (auto& row : lanes) {
    for (auto& product : row) {
      for (__m256& lane : product) lane = _mm256_setzero_ps();
    }
  }
  const A* a = p.a + i * p.a_stride;
  const float* b = p.b + j * p.b_stride;
  const size_t whole = p.length - p.length % 32;
  for (size_t k = 0; k < whole; k += 32) {
    for (size_t part = 0; part < 4; ++part) {
      const size_t at = k + 8 * part;
      __m256 bs[kB];
      for (size_t jb = 0; jb < kB; ++jb) bs[jb] = _mm256_loadu_ps(b + jb * p.b_stride + at);
      for (size_t ia = 0; ia < kA; ++ia) {
        const __m256 wide = load_wide(a + ia * p.a_stride + at);
        for (size_t jb = 0; jb < kB; ++jb) lanes[ia][jb][part] = _mm256_fmadd_ps(wide, bs[jb], lanes[ia][jb][part]);
      }
    }
  }
  for (size_t jb = 0; jb < kB; ++jb) {
    float* out = p.out + (j + jb) * p.out_stride + i;
    for (size_t ia = 0; ia < kA; ++ia) {
      const __m256(&l)[4] = lanes[ia][jb];
      const float sum = sum_neighbours_first(_mm256_add_ps(_mm256_add_ps(l[0], l[2]), _mm256_add_ps(l[1], l[3])));
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

// See exp_in_lane in scalar.cc.
__m256 exp_lanes(__m256 x) {
  const __m256 r = _mm256_set1_ps(0x1.8p23f);
  const __m256 z = _mm256_fmadd_ps(x, _mm256_set1_ps(0x1.715476p+0f), r);
  const __m256 n = _mm256_sub_ps(z, r);
  const __m256 b =
      _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.7f7d1cp-20f), _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e4p-1f), x));
  const __m256i e = _mm256_slli_epi32(_mm256_castps_si256(z), 23);
  const __m256 k = _mm256_castsi256_ps(_mm256_add_epi32(e, _mm256_set1_epi32(0x3f800000)));
  const __m256 u = _mm256_mul_ps(b, b);
  const __m256 low = _mm256_fmadd_ps(_mm256_set1_ps(0x1.0e4020p-7f), b, _mm256_set1_ps(0x1.573e2ep-5f));
  const __m256 high = _mm256_fmadd_ps(_mm256_set1_ps(0x1.555e66p-3f), b, _mm256_set1_ps(0x1.fffdb6p-2f));
  const __m256 j = _mm256_fmadd_ps(_mm256_fmadd_ps(low, u, high), u, _mm256_mul_ps(_mm256_set1_ps(0x1.ffffecp-1f), b));
  const __m256 usual = _mm256_fmadd_ps(k, j, k);
  const __m256 magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), n);
  const __m256 beyond = _mm256_cmp_ps(magnitude, _mm256_set1_ps(126.0f), _CMP_GT_OQ);
  if (_mm256_movemask_ps(beyond) == 0) {
    return usual;
  }
  const __m256i g = _mm256_and_si256(_mm256_castps_si256(_mm256_cmp_ps(n, _mm256_setzero_ps(), _CMP_LE_OQ)),
                                     _mm256_set1_epi32(static_cast<int>(0x82000000u)));
  const __m256 s1 = _mm256_castsi256_ps(_mm256_add_epi32(g, _mm256_set1_epi32(0x7f000000)));
  const __m256 s2 = _mm256_castsi256_ps(_mm256_sub_epi32(e, g));
  const __m256 far_beyond = _mm256_cmp_ps(magnitude, _mm256_set1_ps(192.0f), _CMP_GT_OQ);
  const __m256 scaled = _mm256_mul_ps(_mm256_fmadd_ps(s2, j, s2), s1);
  const __m256 unusual = _mm256_blendv_ps(scaled, _mm256_mul_ps(s1, s1), far_beyond);
  return _mm256_blendv_ps(usual, unusual, beyond);
}

float largest_of(const float* row, size_t n) {
  __m256 largest = _mm256_set1_ps(-INFINITY);
  size_t i = 0;
  for (; i + 8 <= n; i += 8) largest = _mm256_max_ps(_mm256_loadu_ps(row + i), largest);
  alignas(32) float lanes[8];
  _mm256_store_ps(lanes, largest);
  float result = -INFINITY;
  for (const float lane : lanes) result = lane > result ? lane : result;
  for (; i < n; ++i) result = row[i] > result ? row[i] : result;
  return result;
}

// row * scale, and -0 to +0 as adding the mask's zero does.
void scale_row(float* row, size_t n, float scale) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 product = _mm256_mul_ps(_mm256_loadu_ps(row + i), _mm256_set1_ps(scale));
    _mm256_storeu_ps(row + i, _mm256_add_ps(product, _mm256_setzero_ps()));
  }
  for (; i < n; ++i) row[i] = row[i] * scale + 0.0f;
}

}  // namespace

void half_to_float(const uint16_t* in, size_t n, float* out) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(out + i, load_wide(in + i));
  for (; i < n; ++i) out[i] = widen(in[i]);
}

void float_to_half(const float* in, size_t n, uint16_t* out) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), halves);
  }
  for (; i < n; ++i) out[i] = narrow(in[i]);
}

void round_to_half(const float* in, size_t n, float* out) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT);
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(halves));
  }
  for (; i < n; ++i) out[i] = widen(narrow(in[i]));
}

void dot_f16(DotOrder order, const DotProducts<uint16_t>& p) { dot_products(order, p); }
void dot_f32(DotOrder order, const DotProducts<float>& p) { dot_products(order, p); }

void rms_norm(const float* x, const float* weight, size_t n, float eps, float* out) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += static_cast<double>(x[i] * x[i]);
  const float mean = static_cast<float>(sum / static_cast<double>(n));
  const float scale = 1.0f / sqrtf(mean + eps);
  for (size_t i = 0; i < n; ++i) out[i] = (x[i] * scale) * weight[i];
}

void rope(RopePairs pairs, const float* cosine, const float* sine, size_t n_pairs, float* head) {
  const bool halves = pairs == RopePairs::kHalves;
  size_t i = 0;
  for (; halves && i + 8 <= n_pairs; i += 8) {
    const __m256 x0 = _mm256_loadu_ps(head + i);
    const __m256 x1 = _mm256_loadu_ps(head + n_pairs + i);
    const __m256 c = _mm256_loadu_ps(cosine + i);
    const __m256 s = _mm256_loadu_ps(sine + i);
    _mm256_storeu_ps(head + i, _mm256_fmsub_ps(x0, c, _mm256_mul_ps(x1, s)));
    _mm256_storeu_ps(head + n_pairs + i, _mm256_fmadd_ps(x0, s, _mm256_mul_ps(x1, c)));
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

void softmax(float* row, size_t n, float scale) {
  scale_row(row, n, scale);
  const float largest = largest_of(row, n);
  double sum = 0;
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 e = exp_lanes(_mm256_sub_ps(_mm256_loadu_ps(row + i), _mm256_set1_ps(largest)));
    _mm256_storeu_ps(row + i, e);
    sum += static_cast<double>(sum_halves_first(e));
  }
  for (; i < n; ++i) {
    row[i] = glibc_exp(row[i] - largest);
    sum += static_cast<double>(row[i]);
  }
  const __m256 inverse = _mm256_set1_ps(static_cast<float>(1.0 / sum));
  for (i = 0; i + 8 <= n; i += 8) _mm256_storeu_ps(row + i, _mm256_mul_ps(_mm256_loadu_ps(row + i), inverse));
  for (; i < n; ++i) row[i] = row[i] * _mm256_cvtss_f32(inverse);
}

void relu2_times(const float* gate, const float* up, size_t n, float* out) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    // max_ps returns its second operand for NaN, and +0 for -0: as the scalar comparison does.
    const __m256 positive = _mm256_max_ps(_mm256_loadu_ps(gate + i), _mm256_setzero_ps());
    _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_mul_ps(positive, positive), _mm256_loadu_ps(up + i)));
  }
  for (; i < n; ++i) {
    const float positive = gate[i] > 0.0f ? gate[i] : 0.0f;
    out[i] = (positive * positive) * up[i];
  }
}

void silu_times(const float* gate, const float* up, size_t n, float* out) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 x = _mm256_loadu_ps(gate + i);
    const __m256 e = exp_lanes(_mm256_sub_ps(_mm256_setzero_ps(), x));
    const __m256 silu = _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
    _mm256_storeu_ps(out + i, _mm256_mul_ps(silu, _mm256_loadu_ps(up + i)));
  }
  for (; i < n; ++i) out[i] = (gate[i] / (1.0f + glibc_exp(-gate[i]))) * up[i];
}

}  // namespace tern::kernels::avx2
