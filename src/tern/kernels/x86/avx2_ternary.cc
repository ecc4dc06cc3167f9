// AVX2: rounding of activations to int8 and products of ternary weights with them. Integer sums are exact, so their
// order is free here; only the last step's float operations are prescribed.
#include <immintrin.h>

#include "tern/kernels/x86/avx2_functions.h"

namespace tern::kernels::avx2 {
namespace {

constexpr size_t kBlock = 128;  // weights in one block: 32 bytes
constexpr size_t kBlockBytes = 32;
// A code is at most 3 and |q| at most 128, so a pair of products is at most 768 and the four pairs that one block adds
// to a 16-bit lane at most 3072: ten blocks reach 30720 and cannot wrap.
constexpr size_t kBlocksWithoutWrap = 10;

// From here on a tile of 16 or 32 tokens, even if it is not full, is faster than pairwise products.
constexpr size_t kTokensForSmallTile = 9;
constexpr size_t kTokensForLargeTile = 23;
constexpr size_t kRowsForLookup = 128;

__m256i load(const void* at) { return _mm256_loadu_si256(static_cast<const __m256i*>(at)); }

// The codes of the weights 32 * group to 32 * group + 31 of a block. The shift drags bits in from the neighbouring
// byte, which the mask removes.
template <size_t kGroup>
__m256i codes_of(__m256i block) {
  return _mm256_and_si256(_mm256_srli_epi16(block, int{6 - 2 * kGroup}), _mm256_set1_epi8(3));
}

int32_t sum_of_lanes(__m256i v) {
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
  return _mm_cvtsi128_si32(sum);
}

template <size_t kGroup, size_t kRows, size_t kTokens>
void add_group(const __m256i (&block)[kRows], const int8_t* q, size_t n_cols, __m256i (&lanes)[kRows][kTokens]) {
  __m256i codes[kRows];
  for (size_t r = 0; r < kRows; ++r) codes[r] = codes_of<kGroup>(block[r]);
  for (size_t t = 0; t < kTokens; ++t) {
    const __m256i activations = load(q + t * n_cols + 32 * kGroup);
    for (size_t r = 0; r < kRows; ++r) {
      lanes[r][t] = _mm256_add_epi16(lanes[r][t], _mm256_maddubs_epi16(codes[r], activations));
    }
  }
}

// sums += the products of blocks `begin` to `end`, at most kBlocksWithoutWrap, of rows that are `step_bytes` apart.
template <size_t kRows, size_t kTokens>
void add_blocks(const TernaryProduct& p, const uint8_t* codes, size_t step_bytes, const int8_t* q, size_t begin,
                size_t end, __m256i* sums) {
  __m256i lanes[kRows][kTokens];
  for (auto& row_lanes : lanes) {
    for (__m256i& lane : row_lanes) lane = _mm256_setzero_si256();
  }
  for (size_t b = begin; b < end; ++b) {
    __m256i block[kRows];
    for (size_t r = 0; r < kRows; ++r) block[r] = load(codes + r * step_bytes + b * kBlockBytes);
    add_group<0>(block, q + b * kBlock, p.n_cols, lanes);
    add_group<1>(block, q + b * kBlock, p.n_cols, lanes);
    add_group<2>(block, q + b * kBlock, p.n_cols, lanes);
    add_group<3>(block, q + b * kBlock, p.n_cols, lanes);
  }
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t t = 0; t < kTokens; ++t) {
      __m256i& sum = sums[r * kTokens + t];
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(lanes[r][t], _mm256_set1_epi16(1)));
    }
  }
}

// kGroups * kRows rows, `row` + k * `row_step`, times kTokens tokens from `token` on. One group of rows after the other
// is multiplied, as many as registers hold the sums of.
template <size_t kGroups, size_t kRows, size_t kTokens>
void product_tile(const TernaryProduct& p, size_t row, size_t row_step, size_t token) {
  const size_t step_bytes = row_step * (p.n_cols / 4);
  const uint8_t* codes = p.codes + row * (p.n_cols / 4);
  const int8_t* q = p.q + token * p.n_cols;
  const size_t n_blocks = p.n_cols / kBlock;
  __m256i sums[kGroups * kRows * kTokens];
  for (__m256i& sum : sums) sum = _mm256_setzero_si256();
  for (size_t begin = 0; begin < n_blocks; begin += kBlocksWithoutWrap) {
    const size_t end = begin + kBlocksWithoutWrap < n_blocks ? begin + kBlocksWithoutWrap : n_blocks;
    for (size_t group = 0; group < kGroups; ++group) {
      add_blocks<kRows, kTokens>(p, codes + group * kRows * step_bytes, step_bytes, q, begin, end,
                                 sums + group * kRows * kTokens);
    }
  }
  for (size_t r = 0; r < kGroups * kRows; ++r) {
    for (size_t t = 0; t < kTokens; ++t) {
      const RowRounding& rounding = p.rounding[token + t];
      const int32_t sum = sum_of_lanes(sums[r * kTokens + t]) - rounding.sum;
      p.out[(token + t) * p.out_stride + row + r * row_step] =
          static_cast<float>(sum) / rounding.scale * p.weight_scale;
    }
  }
}

// Eight long runs of rows are read side by side: see one_token() in avx512_ternary.cc.
void one_token(const TernaryProduct& p, size_t token) {
  constexpr size_t kRuns = 8;
  const size_t run = p.n_rows / kRuns;
  for (size_t row = 0; row < run; ++row) product_tile<2, 4, 1>(p, row, run, token);
  for (size_t row = kRuns * run; row < p.n_rows; ++row) product_tile<1, 1, 1>(p, row, 1, token);
}

// 32 rounded activations as int32 in four registers to int8 in order, clamped.
__m256i pack_to_int8(const __m256i (&v)[4]) {
  const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
  return _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

constexpr float kRounder = 12582912.0f;  // see scalar.cc

__m256i round_lanes(__m256 x, __m256 scale, ActivationRounding rounding) {
  const __m256 rounder = _mm256_set1_ps(kRounder);
  const __m256 shifted = rounding == ActivationRounding::kFused ? _mm256_fmadd_ps(x, scale, rounder)
                                                                : _mm256_add_ps(_mm256_mul_ps(x, scale), rounder);
  const __m256i mantissa = _mm256_and_si256(_mm256_castps_si256(shifted), _mm256_set1_epi32(0x7fffff));
  return _mm256_sub_epi32(mantissa, _mm256_set1_epi32(0x400000));
}

float largest_magnitude(const float* x, size_t n) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  __m256 largest = _mm256_setzero_ps();
  size_t i = 0;
  // max_ps returns its second operand for NaN, so NaN is passed over as in the scalar code.
  for (; i + 8 <= n; i += 8) largest = _mm256_max_ps(_mm256_and_ps(_mm256_loadu_ps(x + i), magnitude), largest);
  alignas(32) float lanes[8];
  _mm256_store_ps(lanes, largest);
  float result = 0;
  for (const float lane : lanes) result = lane > result ? lane : result;
  for (; i < n; ++i) {
    const float value = x[i] < 0 ? -x[i] : x[i];
    result = value > result ? value : result;
  }
  return result;
}

}  // namespace

RowRounding round_activations(const float* x, size_t n, ActivationRounding rounding, int8_t* q) {
  const float largest = largest_magnitude(x, n);
  const double limit = static_cast<double>(largest) > 1e-5 ? static_cast<double>(largest) : 1e-5;
  const float scale = static_cast<float>(127.0 / limit);
  const __m256 scales = _mm256_set1_ps(scale);
  __m256i sums = _mm256_setzero_si256();
  size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m256i rounded[4] = {round_lanes(_mm256_loadu_ps(x + i), scales, rounding),
                                round_lanes(_mm256_loadu_ps(x + i + 8), scales, rounding),
                                round_lanes(_mm256_loadu_ps(x + i + 16), scales, rounding),
                                round_lanes(_mm256_loadu_ps(x + i + 24), scales, rounding)};
    const __m256i packed = pack_to_int8(rounded);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(q + i), packed);
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), packed);
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  int32_t sum = sum_of_lanes(sums);
  for (; i < n; ++i) {
    const int32_t value = _mm256_cvtsi256_si32(round_lanes(_mm256_set1_ps(x[i]), scales, rounding));
    const int32_t clamped = value < -128 ? -128 : value > 127 ? 127 : value;
    q[i] = static_cast<int8_t>(clamped);
    sum += clamped;
  }
  return {scale, sum};
}

// By look-up as far as that pays, else by pairwise products: four tokens share each unpacked row, which of the shapes
// that leave g++ and clang enough registers was the fastest; what is left over goes one by one.
void ternary_product(const TernaryProduct& p) {
  size_t token = 0;
  bool lookup = p.n_rows >= kRowsForLookup && p.n_cols <= kMaxLookupColumns;
  while (lookup && p.n_tokens - token >= kTokensForSmallTile) {
    const bool large = p.n_tokens - token >= kTokensForLargeTile;
    lookup = large ? lookup_product<32>(p, token) : lookup_product<16>(p, token);
    if (lookup) {
      const size_t end = token + (large ? 32 : 16);
      token = end < p.n_tokens ? end : p.n_tokens;
    }
  }
  for (; token + 4 <= p.n_tokens; token += 4) {
    for (size_t row = 0; row < p.n_rows; ++row) product_tile<1, 1, 4>(p, row, 1, token);
  }
  for (; token < p.n_tokens; ++token) one_token(p, token);
}

}  // namespace tern::kernels::avx2
