// AVX-512: dot products in the orders of the specification, whose lanes are eight wide. kFour's four accumulators are
// two registers; for kOne the halves of a register are two rows of a. So each lane sums what it sums elsewhere.
#include <immintrin.h>

#include "tern/kernels/x86/avx512_functions.h"

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

// Eight products' sums at once, each register's lanes in the prescribed order: shuffles bring the same lanes of several
// products together, so that one addition serves all. Two products of 8 lanes in each of four registers; out: their
// sums, in order.
template <DotOrder kOrder>
__m256 sums_of_pairs(__m512 ab, __m512 cd, __m512 ef, __m512 gh) {
  // p_i = v_i + v_(i+4), of one product in each quarter.
  const __m512 abcd = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
  const __m512 efgh = _mm512_add_ps(_mm512_shuffle_f32x4(ef, gh, 0x88), _mm512_shuffle_f32x4(ef, gh, 0xdd));
  // kFour: p0 + p1 and p2 + p3. kOne: p0 + p2 and p1 + p3. Of abcd in lanes 0 and 1 of a quarter, of efgh in 2 and 3.
  constexpr int kFirst = kOrder == DotOrder::kFour ? 0x88 : 0x44;
  constexpr int kSecond = kOrder == DotOrder::kFour ? 0xdd : 0xee;
  const __m512 halves = _mm512_add_ps(_mm512_shuffle_ps(abcd, efgh, kFirst), _mm512_shuffle_ps(abcd, efgh, kSecond));
  const __m512 sums = _mm512_add_ps(halves, _mm512_permute_ps(halves, 0xb1));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
  return lower_half(_mm512_permutexvar_ps(order, sums));
}

// The sums of two products whose four accumulators are two registers each, in the halves of one.
__m512 pair_of_four(const __m512 (&a)[2], const __m512 (&b)[2]) {
  const __m512 a02_a13 = _mm512_add_ps(a[0], a[1]);
  const __m512 b02_b13 = _mm512_add_ps(b[0], b[1]);
  return _mm512_add_ps(_mm512_shuffle_f32x4(a02_a13, b02_b13, 0x44), _mm512_shuffle_f32x4(a02_a13, b02_b13, 0xee));
}

// kA rows of a, from row i on, times kB rows of b; kA * kB is 8.
template <size_t kA, size_t kB, class A>
void dot_four_tile(const DotProducts<A>& p, size_t i, size_t j) {
  __m512 lanes[8][2];  // of product (ia, jb) at jb * kA + ia
  for (auto& product : lanes) product[0] = product[1] = _mm512_setzero_ps();
  const A* a = p.a + i * p.a_stride;
  const float* b = p.b + j * p.b_stride;
  for (size_t k = 0; k < p.length; k += 32) {
    for (size_t half = 0; half < 2; ++half) {
      const size_t at = k + 16 * half;
      __m512 bs[kB];
      for (size_t jb = 0; jb < kB; ++jb) bs[jb] = _mm512_loadu_ps(b + jb * p.b_stride + at);
      for (size_t ia = 0; ia < kA; ++ia) {
        const __m512 wide = load_wide(a + ia * p.a_stride + at);
        for (size_t jb = 0; jb < kB; ++jb) {
          __m512& sum = lanes[jb * kA + ia][half];
          sum = _mm512_fmadd_ps(wide, bs[jb], sum);
        }
      }
    }
  }
  alignas(32) float sums[8];
  _mm256_store_ps(sums,
                  sums_of_pairs<DotOrder::kFour>(pair_of_four(lanes[0], lanes[1]), pair_of_four(lanes[2], lanes[3]),
                                                 pair_of_four(lanes[4], lanes[5]), pair_of_four(lanes[6], lanes[7])));
  for (size_t jb = 0; jb < kB; ++jb) {
    float* out = p.out + (j + jb) * p.out_stride + i;
    for (size_t ia = 0; ia < kA; ++ia) out[ia] = sums[jb * kA + ia];
  }
}

// Eight rows of a times kB rows of b.
template <size_t kB, class A>
void dot_one_tile(const DotProducts<A>& p, size_t i, size_t j) {
  __m512 lanes[4][kB];  // of two rows of a
  for (auto& row : lanes) {
    for (__m512& lane : row) lane = _mm512_setzero_ps();
  }
  const A* a = p.a + i * p.a_stride;
  const float* b = p.b + j * p.b_stride;
  for (size_t k = 0; k < p.length; k += 8) {
    __m512 bs[kB];
    for (size_t jb = 0; jb < kB; ++jb) bs[jb] = _mm512_broadcast_f32x8(_mm256_loadu_ps(b + jb * p.b_stride + k));
    for (size_t pair = 0; pair < 4; ++pair) {
      const A* lower = a + 2 * pair * p.a_stride + k;
      const __m512 wide = load_two(lower, lower + p.a_stride);
      for (size_t jb = 0; jb < kB; ++jb) lanes[pair][jb] = _mm512_fmadd_ps(wide, bs[jb], lanes[pair][jb]);
    }
  }
  for (size_t jb = 0; jb < kB; ++jb) {
    _mm256_storeu_ps(p.out + (j + jb) * p.out_stride + i,
                     sums_of_pairs<DotOrder::kOne>(lanes[0][jb], lanes[1][jb], lanes[2][jb], lanes[3][jb]));
  }
}

void dot_avx2(DotOrder order, const DotProducts<uint16_t>& p) { avx2::dot_f16(order, p); }
void dot_avx2(DotOrder order, const DotProducts<float>& p) { avx2::dot_f32(order, p); }

// Rows of a from i on times kB rows of b from j on, in whole tiles; what is left over goes to the AVX2 kernel.
template <DotOrder kOrder, size_t kA, size_t kB, class A>
void dot_rows(const DotProducts<A>& p, size_t j) {
  size_t i = 0;
  for (; i + kA <= p.n_a; i += kA) {
    if constexpr (kOrder == DotOrder::kOne) {
      dot_one_tile<kB>(p, i, j);
    } else {
      dot_four_tile<kA, kB>(p, i, j);
    }
  }
  if (i < p.n_a) {
    DotProducts<A> rest = p;
    rest.a += i * p.a_stride;
    rest.n_a -= i;
    rest.b += j * p.b_stride;
    rest.n_b = kB;
    rest.out += j * p.out_stride + i;
    dot_avx2(kOrder, rest);
  }
}

template <class A>
void dot_products(DotOrder order, const DotProducts<A>& p) {
  size_t j = 0;
  if (order == DotOrder::kOne) {
    for (; j + 4 <= p.n_b; j += 4) dot_rows<DotOrder::kOne, 8, 4>(p, j);
    for (; j < p.n_b; ++j) dot_rows<DotOrder::kOne, 8, 1>(p, j);
  } else if (p.length % 32 == 0) {
    for (; j + 4 <= p.n_b; j += 4) dot_rows<DotOrder::kFour, 2, 4>(p, j);
    for (; j + 2 <= p.n_b; j += 2) dot_rows<DotOrder::kFour, 4, 2>(p, j);
    for (; j < p.n_b; ++j) dot_rows<DotOrder::kFour, 8, 1>(p, j);
  } else {
    dot_avx2(order, p);  // leftovers are summed otherwise
  }
}

}  // namespace

void dot_f16(DotOrder order, const DotProducts<uint16_t>& p) { dot_products(order, p); }
void dot_f32(DotOrder order, const DotProducts<float>& p) { dot_products(order, p); }

}  // namespace tern::kernels::avx512
