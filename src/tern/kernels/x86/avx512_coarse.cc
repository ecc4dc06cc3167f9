// AVX-512 with VNNI: products with int8 codes of a float16 matrix (model/greedy_head.h).
#include <immintrin.h>

#include "tern/kernels/x86/avx512_functions.h"

namespace tern::kernels::avx512 {
namespace {

constexpr size_t kRowsAtOnce = 4;

__m512i load_wide(const int8_t* at) {
  return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
}

void four_rows(const CoarseProduct& p, size_t row) {
  const int8_t* codes = p.codes + row * p.n_cols;
  __m512i sums[kRowsAtOnce];
  for (__m512i& sum : sums) sum = _mm512_setzero_si512();
  for (size_t i = 0; i < p.n_cols; i += 32) {
    const __m512i x = _mm512_loadu_si512(p.x + i);
    for (size_t r = 0; r < kRowsAtOnce; ++r) {
      const int8_t* at = codes + r * p.n_cols + i;
      if (i % 64 == 0) {  // the four rows that come next; rows are read in long runs from memory
        _mm_prefetch(reinterpret_cast<const char*>(at + kRowsAtOnce * p.n_cols), _MM_HINT_T0);
      }
      sums[r] = _mm512_dpwssd_epi32(sums[r], load_wide(at), x);
    }
  }
  for (size_t r = 0; r < kRowsAtOnce; ++r) p.out[row + r] = _mm512_reduce_add_epi32(sums[r]);
}

}  // namespace

void coarse_product(const CoarseProduct& p) {
  size_t row = 0;
  for (; row + kRowsAtOnce <= p.n_rows; row += kRowsAtOnce) four_rows(p, row);
  if (row < p.n_rows) {
    CoarseProduct rest = p;
    rest.codes += row * p.n_cols;
    rest.n_rows -= row;
    rest.out += row;
    avx2::coarse_product(rest);
  }
}

}  // namespace tern::kernels::avx512
