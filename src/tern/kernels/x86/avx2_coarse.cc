// AVX2: a float16 matrix as int8 codes, and products with them (model/greedy_head.h).
#include <immintrin.h>

#include "tern/kernels/x86/avx2_functions.h"
#include "tern/kernels/x86/avx2_lanes.h"

namespace tern::kernels::avx2 {
namespace {

constexpr size_t kRuns = 8;              // read side by side: see one_token() in avx512_ternary.cc
constexpr float kRounder = 12582912.0f;  // see scalar.cc

__m256i load_codes(const int8_t* at) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
}

__m256i load(const int16_t* at) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)); }

float largest_magnitude(const uint16_t* row, size_t n) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  __m256 largest = _mm256_setzero_ps();
  for (size_t i = 0; i < n; i += 8) largest = _mm256_max_ps(_mm256_and_ps(load_wide(row + i), magnitude), largest);
  alignas(32) float lanes[8];
  _mm256_store_ps(lanes, largest);
  float result = 0;
  for (const float lane : lanes) result = lane > result ? lane : result;
  return result;
}

__m256i sums_of_lanes(__m256i a, __m256i b, __m256i c, __m256i d) {
  return _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
}

// The rows `row` + k * `row_step`, k below kRuns.
void product_tile(const CoarseProduct& p, size_t row, size_t row_step) {
  const size_t step = row_step * p.n_cols;
  const int8_t* codes = p.codes + row * p.n_cols;
  __m256i sums[kRuns];
  for (__m256i& sum : sums) sum = _mm256_setzero_si256();
  for (size_t i = 0; i < p.n_cols; i += 32) {
    const __m256i x0 = load(p.x + i);
    const __m256i x1 = load(p.x + i + 16);
    for (size_t k = 0; k < kRuns; ++k) {
      const int8_t* at = codes + k * step + i;
      sums[k] = _mm256_add_epi32(sums[k], _mm256_madd_epi16(load_codes(at), x0));
      sums[k] = _mm256_add_epi32(sums[k], _mm256_madd_epi16(load_codes(at + 16), x1));
    }
  }
  for (size_t first = 0; first < kRuns; first += 4) {
    const __m256i halves = sums_of_lanes(sums[first], sums[first + 1], sums[first + 2], sums[first + 3]);
    const __m128i totals = _mm_add_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
    alignas(16) int32_t results[4];
    _mm_store_si128(reinterpret_cast<__m128i*>(results), totals);
    for (size_t k = 0; k < 4; ++k) p.out[row + (first + k) * row_step] = results[k];
  }
}

void one_row(const CoarseProduct& p, size_t row) {
  const int8_t* codes = p.codes + row * p.n_cols;
  __m256i sum = _mm256_setzero_si256();
  for (size_t i = 0; i < p.n_cols; i += 16) {
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(load_codes(codes + i), load(p.x + i)));
  }
  const __m256i halves = sums_of_lanes(sum, sum, sum, sum);
  p.out[row] = _mm_cvtsi128_si32(_mm_add_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1)));
}

}  // namespace

CoarseRow coarsen_row(const uint16_t* row, size_t n, int8_t* codes) {
  const float largest = largest_magnitude(row, n);
  const float limit = largest > 1e-5f ? largest : 1e-5f;
  const float scale = limit / 127.0f;
  const __m256 inverse = _mm256_set1_ps(127.0f / limit);
  __m256 errors = _mm256_setzero_ps();
  __m256 squares = _mm256_setzero_ps();
  for (size_t i = 0; i < n; i += 32) {
    __m256i rounded[4];
    for (size_t part = 0; part < 4; ++part) {
      const __m256 value = load_wide(row + i + 8 * part);
      const __m256 shifted = _mm256_add_ps(_mm256_mul_ps(value, inverse), _mm256_set1_ps(kRounder));
      const __m256i mantissa = _mm256_and_si256(_mm256_castps_si256(shifted), _mm256_set1_epi32(0x7fffff));
      rounded[part] = _mm256_sub_epi32(mantissa, _mm256_set1_epi32(0x400000));
      const __m256 error = _mm256_fnmadd_ps(_mm256_set1_ps(scale), _mm256_cvtepi32_ps(rounded[part]), value);
      errors = _mm256_fmadd_ps(error, error, errors);
      squares = _mm256_fmadd_ps(value, value, squares);
    }
    const __m256i packed =
        _mm256_packs_epi16(_mm256_packs_epi32(rounded[0], rounded[1]), _mm256_packs_epi32(rounded[2], rounded[3]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + i),
                        _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
  }
  return {scale, sum_halves_first(errors), sum_halves_first(squares)};
}

void coarse_product(const CoarseProduct& p) {
  const size_t run = p.n_rows / kRuns;
  for (size_t row = 0; row < run; ++row) product_tile(p, row, run);
  for (size_t row = run * kRuns; row < p.n_rows; ++row) one_row(p, row);
}

}  // namespace tern::kernels::avx2
