// AVX-512 with VNNI: products of ternary weights with activations. One vpdpbusd adds the products of 64 codes and
// activations to 16 lanes of 32 bits, so nothing can wrap before the end. The lower half of a register holds one row of
// weights, the upper half the next one; activations are the same in both.
#include <immintrin.h>

#include "tern/kernels/x86/avx512_functions.h"

namespace tern::kernels::avx512 {
namespace {

constexpr size_t kBlock = 128;  // weights in one block: 32 bytes
constexpr size_t kBlockBytes = 32;

__m256i load(const void* at) { return _mm256_loadu_si256(static_cast<const __m256i*>(at)); }

__m512i load_two(const void* lower, const void* upper) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(load(lower)), load(upper), 1);
}

// The codes of the weights 32 * group to 32 * group + 31 of a block. The shift drags bits in from the neighbouring
// byte, which the mask removes.
template <size_t kGroup>
__m512i codes_of(__m512i blocks) {
  return _mm512_and_si512(_mm512_srli_epi16(blocks, 6 - 2 * kGroup), _mm512_set1_epi8(3));
}

template <size_t kGroup, size_t kPairs, size_t kTokens>
void add_group(const __m512i (&blocks)[kPairs], const int8_t* q, size_t n_cols, __m512i (&sums)[kPairs][kTokens]) {
  __m512i codes[kPairs];
  for (size_t pair = 0; pair < kPairs; ++pair) codes[pair] = codes_of<kGroup>(blocks[pair]);
  for (size_t t = 0; t < kTokens; ++t) {
    const __m512i activations = _mm512_broadcast_i64x4(load(q + t * n_cols + 32 * kGroup));
    for (size_t pair = 0; pair < kPairs; ++pair) {
      sums[pair][t] = _mm512_dpbusd_epi32(sums[pair][t], codes[pair], activations);
    }
  }
}

// Lane l of the result's quarter i is the sum of quarter i of the l-th argument.
__m512i sums_of_quarters(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

// The totals of four registers: of their lower halves in lanes 0 to 3, of their upper halves in lanes 4 to 7.
__m256i sums_of_halves(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i quarters = sums_of_quarters(a, b, c, d);
  const __m512i even = _mm512_shuffle_i64x2(quarters, quarters, 0x08);  // quarters 0 and 2
  const __m512i odd = _mm512_shuffle_i64x2(quarters, quarters, 0x0d);   // quarters 1 and 3
  return _mm512_castsi512_si256(_mm512_add_epi32(even, odd));
}

__m256 scaled(__m256i sum, __m256i activation_sum, __m256 scale, float weight_scale) {
  const __m256 exact = _mm256_cvtepi32_ps(_mm256_sub_epi32(sum, activation_sum));
  return _mm256_mul_ps(_mm256_div_ps(exact, scale), _mm256_set1_ps(weight_scale));
}

// Four tokens' results of the rows `row` and `row` + 1.
void store_four_tokens(const TernaryProduct& p, size_t row, size_t token, const __m512i (&sums)[4]) {
  const RowRounding* r = p.rounding + token;
  const __m128 scale = _mm_setr_ps(r[0].scale, r[1].scale, r[2].scale, r[3].scale);
  const __m128i activation_sum = _mm_setr_epi32(r[0].sum, r[1].sum, r[2].sum, r[3].sum);
  alignas(32) float results[8];
  _mm256_store_ps(
      results, scaled(sums_of_halves(sums[0], sums[1], sums[2], sums[3]), _mm256_broadcastsi128_si256(activation_sum),
                      _mm256_set_m128(scale, scale), p.weight_scale));
  for (size_t t = 0; t < 4; ++t) {
    float* out = p.out + (token + t) * p.out_stride + row;
    out[0] = results[t];
    out[1] = results[4 + t];
  }
}

// One token's results of the rows `row` + k * `row_step`, k = 0 to 7.
void store_eight_rows(const TernaryProduct& p, size_t row, size_t row_step, size_t token, const __m512i (&sums)[4]) {
  const RowRounding r = p.rounding[token];
  alignas(32) float results[8];
  _mm256_store_ps(results, scaled(sums_of_halves(sums[0], sums[1], sums[2], sums[3]), _mm256_set1_epi32(r.sum),
                                  _mm256_set1_ps(r.scale), p.weight_scale));
  float* out = p.out + token * p.out_stride + row;
  for (size_t pair = 0; pair < 4; ++pair) {
    out[2 * pair * row_step] = results[pair];
    out[(2 * pair + 1) * row_step] = results[4 + pair];
  }
}

// The rows `row` + k * `row_step`, k below 2 * kPairs, times kTokens tokens from `token` on.
template <size_t kPairs, size_t kTokens>
void sum_tile(const TernaryProduct& p, size_t row, size_t row_step, size_t token, __m512i (&sums)[kPairs][kTokens]) {
  const size_t row_bytes = p.n_cols / 4;
  const size_t step_bytes = row_step * row_bytes;
  const uint8_t* codes = p.codes + row * row_bytes;
  const int8_t* q = p.q + token * p.n_cols;
  for (auto& pair_sums : sums) {
    for (__m512i& sum : pair_sums) sum = _mm512_setzero_si512();
  }
  for (size_t b = 0; b < p.n_cols / kBlock; ++b, codes += kBlockBytes, q += kBlock) {
    __m512i blocks[kPairs];
    for (size_t pair = 0; pair < kPairs; ++pair) {
      const uint8_t* lower = codes + 2 * pair * step_bytes;
      blocks[pair] = load_two(lower, lower + step_bytes);
    }
    add_group<0>(blocks, q, p.n_cols, sums);
    add_group<1>(blocks, q, p.n_cols, sums);
    add_group<2>(blocks, q, p.n_cols, sums);
    add_group<3>(blocks, q, p.n_cols, sums);
  }
}

void eight_rows_four_tokens(const TernaryProduct& p, size_t row, size_t token) {
  __m512i sums[4][4];
  sum_tile(p, row, 1, token, sums);
  for (size_t pair = 0; pair < 4; ++pair) store_four_tokens(p, row + 2 * pair, token, sums[pair]);
}

// A single token reads each weight once, so memory's speed is what counts: the rows are read as eight long runs side
// by side, each run's rows one after the other. The hardware's prefetcher follows eight such runs; eight neighbouring
// rows, each too short for it to find its pace, come slower.
void one_token(const TernaryProduct& p, size_t n_rows, size_t token) {
  const size_t run = n_rows / 8;
  for (size_t row = 0; row < run; ++row) {
    __m512i sums[4][1];
    sum_tile(p, row, run, token, sums);
    store_eight_rows(p, row, run, token, {sums[0][0], sums[1][0], sums[2][0], sums[3][0]});
  }
}

}  // namespace

// Tiles of 8 rows x 4 tokens were the fastest of those that fit the 32 registers. What is left over at the end of the
// rows, at most seven, goes to the AVX2 kernel.
void ternary_product(const TernaryProduct& p) {
  const size_t n_rows = p.n_rows - p.n_rows % 8;
  size_t token = 0;
  for (; token + 4 <= p.n_tokens; token += 4) {
    for (size_t row = 0; row < n_rows; row += 8) eight_rows_four_tokens(p, row, token);
  }
  for (; token < p.n_tokens; ++token) one_token(p, n_rows, token);
  if (n_rows < p.n_rows) {
    TernaryProduct rest = p;
    rest.codes += n_rows * (p.n_cols / 4);
    rest.n_rows -= n_rows;
    rest.out += n_rows;
    avx2::ternary_product(rest);
  }
}

}  // namespace tern::kernels::avx512
