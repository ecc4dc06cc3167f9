// AVX-512 with VNNI: products with int8 codes of a float16 matrix (model/greedy_head.h).
#include <immintrin.h>

#include "tern/kernels/x86/avx512_functions.h"

namespace tern::kernels::avx512 {
namespace {

constexpr size_t kRuns = 8;  // read side by side: see one_token() in avx512_ternary.cc

__m512i load_wide(const int8_t* at) {
  return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
}

// The rows `row` + k * `row_step`, k below kRuns.
void product_tile(const CoarseProduct& p, size_t row, size_t row_step) {
  const int8_t* codes = p.codes + row * p.n_cols;
  __m512i sums[kRuns];
  for (__m512i& sum : sums) sum = _mm512_setzero_si512();
  for (size_t i = 0; i < p.n_cols; i += 32) {
    const __m512i x = _mm512_loadu_si512(p.x + i);
    for (size_t k = 0; k < kRuns; ++k) {
      sums[k] = _mm512_dpwssd_epi32(sums[k], load_wide(codes + k * row_step * p.n_cols + i), x);
    }
  }
  for (size_t k = 0; k < kRuns; ++k) p.out[row + k * row_step] = _mm512_reduce_add_epi32(sums[k]);
}

}  // namespace

void coarse_product(const CoarseProduct& p) {
  const size_t run = p.n_rows / kRuns;
  for (size_t row = 0; row < run; ++row) product_tile(p, row, run);
  const size_t done = run * kRuns;
  if (done < p.n_rows) {
    CoarseProduct rest = p;
    rest.codes += done * p.n_cols;
    rest.n_rows -= done;
    rest.out += done;
    avx2::coarse_product(rest);
  }
}

}  // namespace tern::kernels::avx512
