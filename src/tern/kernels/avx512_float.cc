// AVX-512: dot products in the orders of the specification, whose lanes are eight wide. kFour's four accumulators are
// two registers; for kOne the halves of a register are two rows of a. So each lane sums what it sums elsewhere.
#include <immintrin.h>

#include "tern/kernels/avx2_lanes.h"
#include "tern/kernels/avx512_functions.h"

namespace tern::kernels::avx512 {
namespace {

__m256i load_halves(const uint16_t* at) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)); }

__m512 load_wide(const uint16_t* at) { return _mm512_cvtph_ps(load_halves(at)); }
__m512 load_wide(const float* at) { return _mm512_loadu_ps(at); }

// Eight elements of two rows.
__m512 load_two(const uint16_t* lower, const uint16_t* upper) {
  const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(lower));
  const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(upper));
  return _mm512_cvtph_ps(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1));
}
__m512 load_two(const float* lower, const float* upper) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(lower)), _mm256_loadu_ps(upper), 1);
}

__m256 lower_half(__m512 v) { return _mm512_castps512_ps256(v); }
__m256 upper_half(__m512 v) { return _mm512_extractf32x8_ps(v, 1); }

// kA rows of a, from row i on, times kB rows of b.
template <size_t kA, size_t kB, class A>
void dot_four_tile(const DotProducts<A>& p, size_t i, size_t j) {
  __m512 lanes[kA][kB][2];
  for (auto& row : lanes) {
    for (auto& product : row) product[0] = product[1] = _mm512_setzero_ps();
  }
  const A* a = p.a + i * p.a_stride;
  const float* b = p.b + j * p.b_stride;
  for (size_t k = 0; k < p.length; k += 32) {
    for (size_t half = 0; half < 2; ++half) {
      const size_t at = k + 16 * half;
      __m512 bs[kB];
      for (size_t jb = 0; jb < kB; ++jb) bs[jb] = _mm512_loadu_ps(b + jb * p.b_stride + at);
      for (size_t ia = 0; ia < kA; ++ia) {
        const __m512 wide = load_wide(a + ia * p.a_stride + at);
        for (size_t jb = 0; jb < kB; ++jb) lanes[ia][jb][half] = _mm512_fmadd_ps(wide, bs[jb], lanes[ia][jb][half]);
      }
    }
  }
  for (size_t jb = 0; jb < kB; ++jb) {
    float* out = p.out + (j + jb) * p.out_stride + i;
    for (size_t ia = 0; ia < kA; ++ia) {
      const __m512 sums = _mm512_add_ps(lanes[ia][jb][0], lanes[ia][jb][1]);
      out[ia] = avx2::sum_neighbours_first(_mm256_add_ps(lower_half(sums), upper_half(sums)));
    }
  }
}

// 2 * kPairs rows of a times kB rows of b.
template <size_t kPairs, size_t kB, class A>
void dot_one_tile(const DotProducts<A>& p, size_t i, size_t j) {
  __m512 lanes[kPairs][kB];
  for (auto& row : lanes) {
    for (__m512& lane : row) lane = _mm512_setzero_ps();
  }
  const A* a = p.a + i * p.a_stride;
  const float* b = p.b + j * p.b_stride;
  for (size_t k = 0; k < p.length; k += 8) {
    __m512 bs[kB];
    for (size_t jb = 0; jb < kB; ++jb) bs[jb] = _mm512_broadcast_f32x8(_mm256_loadu_ps(b + jb * p.b_stride + k));
    for (size_t pair = 0; pair < kPairs; ++pair) {
      const A* lower = a + 2 * pair * p.a_stride + k;
      const __m512 wide = load_two(lower, lower + p.a_stride);
      for (size_t jb = 0; jb < kB; ++jb) lanes[pair][jb] = _mm512_fmadd_ps(wide, bs[jb], lanes[pair][jb]);
    }
  }
  for (size_t jb = 0; jb < kB; ++jb) {
    float* out = p.out + (j + jb) * p.out_stride + i;
    for (size_t pair = 0; pair < kPairs; ++pair) {
      out[2 * pair] = avx2::sum_halves_first(lower_half(lanes[pair][jb]));
      out[2 * pair + 1] = avx2::sum_halves_first(upper_half(lanes[pair][jb]));
    }
  }
}

template <size_t kA, size_t kB, class A>
size_t dot_four_rows(const DotProducts<A>& p, size_t i, size_t j) {
  for (; i + kA <= p.n_a; i += kA) dot_four_tile<kA, kB>(p, i, j);
  return i;
}

template <size_t kPairs, size_t kB, class A>
size_t dot_one_rows(const DotProducts<A>& p, size_t i, size_t j) {
  for (; i + 2 * kPairs <= p.n_a; i += 2 * kPairs) dot_one_tile<kPairs, kB>(p, i, j);
  return i;
}

// The row of a that is left over where n_a is odd.
template <class A>
DotProducts<A> last_row(const DotProducts<A>& p) {
  DotProducts<A> rest = p;
  rest.a += (p.n_a - 1) * p.a_stride;
  rest.n_a = 1;
  rest.out += p.n_a - 1;
  return rest;
}

void dot_avx2(DotOrder order, const DotProducts<uint16_t>& p) { avx2::dot_f16(order, p); }
void dot_avx2(DotOrder order, const DotProducts<float>& p) { avx2::dot_f32(order, p); }

template <class A>
void dot_one(const DotProducts<A>& p) {
  size_t j = 0;
  for (; j + 4 <= p.n_b; j += 4) dot_one_rows<1, 4>(p, dot_one_rows<4, 4>(p, 0, j), j);
  for (; j < p.n_b; ++j) dot_one_rows<1, 1>(p, dot_one_rows<4, 1>(p, 0, j), j);
  if (p.n_a % 2 != 0) {
    dot_avx2(DotOrder::kOne, last_row(p));
  }
}

template <class A>
void dot_four(const DotProducts<A>& p) {
  size_t j = 0;
  for (; j + 4 <= p.n_b; j += 4) dot_four_rows<1, 4>(p, dot_four_rows<2, 4>(p, 0, j), j);
  for (; j + 2 <= p.n_b; j += 2) dot_four_rows<1, 2>(p, dot_four_rows<4, 2>(p, 0, j), j);
  for (; j < p.n_b; ++j) dot_four_rows<1, 1>(p, dot_four_rows<4, 1>(p, 0, j), j);
}

template <class A>
void dot_products(DotOrder order, const DotProducts<A>& p) {
  if (order == DotOrder::kOne) {
    dot_one(p);
  } else if (p.length % 32 == 0) {
    dot_four(p);
  } else {
    dot_avx2(order, p);  // leftovers are summed otherwise
  }
}

}  // namespace

void dot_f16(DotOrder order, const DotProducts<uint16_t>& p) { dot_products(order, p); }
void dot_f32(DotOrder order, const DotProducts<float>& p) { dot_products(order, p); }

}  // namespace tern::kernels::avx512
