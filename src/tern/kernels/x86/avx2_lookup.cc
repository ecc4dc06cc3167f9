// AVX2: products of ternary weights with many tokens, by table look-up instead of multiplication (the idea of Vec-LUT,
// arXiv 2512.06443; tables, layout and bounds are our own).
//
// A byte of codes holds four weights, so for one byte's four activations there are 81 possible partial sums. For a tile
// of tokens side by side as int16 these are 81 lines of a table, and a weight row's byte costs one load and addition
// per 16 tokens: 64 products. Tables of four neighbouring bytes fill 20 KB, so that they stay in a first-level cache of
// 32 KB while all rows pass by. Integer sums are exact, so their order is free; only the last step's float operations
// are prescribed.
#include <immintrin.h>

#include "tern/kernels/x86/avx2_functions.h"

namespace tern::kernels::avx2 {
namespace {

constexpr size_t kBlock = 128;  // weights in one block: 32 bytes
constexpr size_t kBlockBytes = 32;
constexpr size_t kTables = 4;  // tables at a time: bytes of one word of indices
constexpr size_t kWords = kBlockBytes / kTables;
constexpr size_t kEntries = 81;
constexpr size_t kLanes = 16;
constexpr size_t kRowsAtOnce = 16;
// Rows of one pass over the tables. More rows share the building of a table, fewer need less scratch on the stack.
constexpr size_t kMaxRows = 2560;
constexpr int32_t kLargestSum = 32767;

struct RowRange {
  size_t begin;
  size_t n;
};

// What one pass works on: 270 KB for 32 tokens.
template <size_t kTokens>
struct Scratch {
  alignas(64) int16_t tables[kTables][kEntries][kTokens];
  alignas(64) int16_t sums[kMaxRows][kTokens];
  alignas(64) uint32_t indices[kWords][kMaxRows];  // four bytes, each the line of one table
  alignas(64) int8_t columns[kBlock][kTokens];     // the activations of one block, transposed
};

// One tile of tokens: those behind the last one of the product repeat it, and are not stored.
template <size_t kTokens>
struct Tile {
  size_t begin;
  size_t n;
  const int8_t* q[kTokens];
};

__m256i load(const void* at) { return _mm256_loadu_si256(static_cast<const __m256i*>(at)); }
__m128i load_half(const void* at) { return _mm_loadu_si128(static_cast<const __m128i*>(at)); }
void store(void* at, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(at), v); }
void store_half(void* at, __m128i v) { _mm_storeu_si128(static_cast<__m128i*>(at), v); }
size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
size_t round_up(size_t n_rows) { return (n_rows + kRowsAtOnce - 1) / kRowsAtOnce * kRowsAtOnce; }

// Bytes of four codes to lines of a table: 27 * c0 + 9 * c1 + 3 * c2 + c3. Code 3 sets the highest bit.
__m256i lines_of(__m256i bytes) {
  constexpr char kBad = -128;
  const __m256i high_lines = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 9, 18, kBad, 27, 36, 45, kBad, 54, 63, 72, kBad, kBad, kBad, kBad, kBad));
  const __m256i low_lines =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, kBad, 3, 4, 5, kBad, 6, 7, 8, kBad, kBad, kBad, kBad, kBad));
  const __m256i low_bits = _mm256_set1_epi8(15);
  const __m256i high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), low_bits);
  const __m256i low = _mm256_and_si256(bytes, low_bits);
  return _mm256_adds_epu8(_mm256_shuffle_epi8(high_lines, high), _mm256_shuffle_epi8(low_lines, low));
}

// 4 x 4 words in each half of the registers.
void transpose_words(__m256i (&v)[4]) {
  const __m256i a = _mm256_unpacklo_epi32(v[0], v[1]);
  const __m256i b = _mm256_unpackhi_epi32(v[0], v[1]);
  const __m256i c = _mm256_unpacklo_epi32(v[2], v[3]);
  const __m256i d = _mm256_unpackhi_epi32(v[2], v[3]);
  v[0] = _mm256_unpacklo_epi64(a, c);
  v[1] = _mm256_unpackhi_epi64(a, c);
  v[2] = _mm256_unpacklo_epi64(b, d);
  v[3] = _mm256_unpackhi_epi64(b, d);
}

// The lines of one block of all rows. False if there is a code 3, which has no line.
bool find_lines(const TernaryProduct& p, size_t block, RowRange rows, uint32_t (&indices)[kWords][kMaxRows]) {
  const size_t row_bytes = p.n_cols / 4;
  const uint8_t* codes = p.codes + rows.begin * row_bytes + block * kBlockBytes;
  __m256i seen = _mm256_setzero_si256();
  for (size_t r = 0; r < round_up(rows.n); r += 8) {
    const uint8_t* at[8];
    for (size_t i = 0; i < 8; ++i) at[i] = codes + smaller(r + i, rows.n - 1) * row_bytes;
    for (size_t half = 0; half < 2; ++half) {
      __m256i words[4];
      for (size_t i = 0; i < 4; ++i) {
        const __m256i first = _mm256_castsi128_si256(load_half(at[i] + 16 * half));
        words[i] = lines_of(_mm256_inserti128_si256(first, load_half(at[i + 4] + 16 * half), 1));
        seen = _mm256_or_si256(seen, words[i]);
      }
      transpose_words(words);
      for (size_t i = 0; i < 4; ++i) store(&indices[4 * half + i][r], words[i]);
    }
  }
  return _mm256_movemask_epi8(seen) == 0;
}

// 32 columns of 16 tokens. Four times, elements i and i + 8 are interleaved, which turns the bits of their index.
template <size_t kTokens>
void transpose_columns(const int8_t* const* q, size_t column, int8_t (*columns)[kTokens], size_t token) {
  __m256i v[kLanes];
  for (size_t t = 0; t < kLanes; ++t) v[t] = load(q[t] + column);
  for (int step = 0; step < 4; ++step) {
    __m256i turned[kLanes];
    for (size_t i = 0; i < kLanes / 2; ++i) {
      turned[2 * i] = _mm256_unpacklo_epi8(v[i], v[i + kLanes / 2]);
      turned[2 * i + 1] = _mm256_unpackhi_epi8(v[i], v[i + kLanes / 2]);
    }
    for (size_t i = 0; i < kLanes; ++i) v[i] = turned[i];
  }
  for (size_t i = 0; i < kLanes; ++i) {
    store_half(columns[i] + token, _mm256_castsi256_si128(v[i]));
    store_half(columns[i + kLanes] + token, _mm256_extracti128_si256(v[i], 1));
  }
}

// (c - 1) * a for c = 0, 1, 2, added to `base`.
void add_three(__m256i base, __m256i a, __m256i (&out)[3]) {
  out[0] = _mm256_sub_epi16(base, a);
  out[1] = base;
  out[2] = _mm256_add_epi16(base, a);
}

// The table of byte `byte` of the block: line by line, the sum of (code - 1) * q over its four columns.
template <size_t kTokens>
void build_table(const int8_t (&columns)[kBlock][kTokens], size_t byte, int16_t (&table)[kEntries][kTokens]) {
  for (size_t t = 0; t < kTokens; t += kLanes) {
    __m256i q[4];
    for (size_t i = 0; i < 4; ++i) q[i] = _mm256_cvtepi8_epi16(load_half(&columns[32 * i + byte][t]));
    __m256i third[3], low[3][3], first[3];
    add_three(_mm256_setzero_si256(), q[2], third);
    for (size_t i = 0; i < 3; ++i) add_three(third[i], q[3], low[i]);
    add_three(_mm256_setzero_si256(), q[0], first);
    for (size_t i = 0; i < 3; ++i) {
      __m256i high[3];
      add_three(first[i], q[1], high);
      for (size_t j = 0; j < 3; ++j) {
        for (size_t k = 0; k < 9; ++k) {
          store(&table[27 * i + 9 * j + k][t], _mm256_add_epi16(high[j], low[k / 3][k % 3]));
        }
      }
    }
  }
}

// Adds one word of indices of all rows: four lines each. kFresh: the sums begin here.
template <bool kFresh, size_t kTokens>
void add_lines(const uint32_t* indices, size_t n_rows, const int16_t (&tables)[kTables][kEntries][kTokens],
               int16_t (&sums)[kMaxRows][kTokens]) {
  constexpr size_t kRegisters = kTokens / kLanes;
  const auto* base = reinterpret_cast<const char*>(&tables[0][0][0]);
  for (size_t r = 0; r < n_rows; ++r) {
    const uint32_t word = indices[r];
    __m256i sum[kRegisters];
    for (size_t i = 0; i < kRegisters; ++i) sum[i] = kFresh ? _mm256_setzero_si256() : load(&sums[r][kLanes * i]);
    for (size_t table = 0; table < kTables; ++table) {
      const char* line = base + static_cast<size_t>(static_cast<uint8_t>(word >> (8 * table))) * sizeof(sums[0]);
      for (size_t i = 0; i < kRegisters; ++i) {
        sum[i] = _mm256_add_epi16(sum[i], load(line + table * sizeof(tables[0]) + 32 * i));
      }
    }
    for (size_t i = 0; i < kRegisters; ++i) store(&sums[r][kLanes * i], sum[i]);
  }
}

// Sum of the magnitudes of one block of activations: at most 128 * 128.
int32_t magnitude(const int8_t* q) {
  __m256i sum = _mm256_setzero_si256();
  for (size_t i = 0; i < kBlock; i += 32) {
    sum = _mm256_add_epi32(sum, _mm256_sad_epu8(_mm256_abs_epi8(load(q + i)), _mm256_setzero_si256()));
  }
  const __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  return _mm_cvtsi128_si32(half) + _mm_extract_epi32(half, 2);
}

// How far the int16 sums of a tile's tokens can have gone, whatever the weights.
template <size_t kTokens>
struct Reach {
  int32_t reach[kTokens];

  // True if another block fits; if not, the sums must start anew.
  bool add_block(const int8_t* const* q, size_t column) {
    int32_t added[kTokens];
    bool fits = true;
    for (size_t t = 0; t < kTokens; ++t) {
      added[t] = magnitude(q[t] + column);
      fits &= reach[t] + added[t] <= kLargestSum;
    }
    for (size_t t = 0; t < kTokens; ++t) reach[t] = (fits ? reach[t] : 0) + added[t];
    return fits;
  }
};

// Which of the passes over the columns a set of sums comes from. In between, `out` holds integers: float32 is exact up
// to 2^24, which no sum passes (kMaxLookupColumns).
struct Pass {
  bool first;
  bool last;
};

struct Scales {
  __m256 activations;
  __m256 weights;
};

// 8 rows of 16 tokens: v[t] becomes the sums of token t in its lower half and of token t + 8 in its upper half.
template <size_t kTokens>
void sums_by_token(const int16_t (*sums)[kTokens], size_t token, __m256i (&v)[8]) {
  for (size_t i = 0; i < 8; ++i) v[i] = load(&sums[i][token]);
  for (int step = 0; step < 3; ++step) {
    __m256i turned[8];
    for (size_t i = 0; i < 4; ++i) {
      turned[2 * i] = _mm256_unpacklo_epi16(v[i], v[i + 4]);
      turned[2 * i + 1] = _mm256_unpackhi_epi16(v[i], v[i + 4]);
    }
    for (size_t i = 0; i < 8; ++i) v[i] = turned[i];
  }
}

// 8 rows of one token; not kWhole: only those that the mask names.
template <bool kWhole>
void store_eight(float* out, __m128i sums, __m256i mask, const Scales& scales, Pass pass) {
  __m256 value = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(sums));
  if (!pass.first) {
    value = _mm256_add_ps(value, kWhole ? _mm256_loadu_ps(out) : _mm256_maskload_ps(out, mask));
  }
  if (pass.last) {
    value = _mm256_mul_ps(_mm256_div_ps(value, scales.activations), scales.weights);
  }
  if (kWhole) {
    _mm256_storeu_ps(out, value);
  } else {
    _mm256_maskstore_ps(out, mask, value);
  }
}

// 16 rows of all tokens, so that whole cache lines are written at once; not kWhole: only the first n_rows.
template <bool kWhole, size_t kTokens>
void store_rows(const TernaryProduct& p, const Tile<kTokens>& tile, const int16_t (*sums)[kTokens], RowRange rows,
                Pass pass) {
  const __m256i n_rows = _mm256_set1_epi32(static_cast<int>(rows.n));
  const __m256i lower_mask = _mm256_cmpgt_epi32(n_rows, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  const __m256i upper_mask = _mm256_cmpgt_epi32(n_rows, _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15));
  for (size_t begin = 0; begin < tile.n; begin += kLanes) {
    alignas(32) __m128i lower[8][2];
    alignas(32) __m128i upper[8][2];
    __m256i v[8];
    sums_by_token(sums, begin, v);
    for (size_t i = 0; i < 8; ++i) store(lower[i], v[i]);
    sums_by_token(sums + 8, begin, v);
    for (size_t i = 0; i < 8; ++i) store(upper[i], v[i]);
    const size_t n = smaller(kLanes, tile.n - begin);
    for (size_t t = 0; t < n; ++t) {
      const size_t token = tile.begin + begin + t;
      const Scales scales = {_mm256_set1_ps(p.rounding[token].scale), _mm256_set1_ps(p.weight_scale)};
      float* out = p.out + token * p.out_stride + rows.begin;
      store_eight<kWhole>(out, lower[t % 8][t / 8], lower_mask, scales, pass);
      store_eight<kWhole>(out + 8, upper[t % 8][t / 8], upper_mask, scales, pass);
    }
  }
}

template <size_t kTokens>
void store_sums(const TernaryProduct& p, const Tile<kTokens>& tile, const int16_t (*sums)[kTokens], RowRange rows,
                Pass pass) {
  size_t r = 0;
  for (; r + kRowsAtOnce <= rows.n; r += kRowsAtOnce) {
    store_rows<true>(p, tile, sums + r, {rows.begin + r, kRowsAtOnce}, pass);
  }
  if (r < rows.n) {
    store_rows<false>(p, tile, sums + r, {rows.begin + r, rows.n - r}, pass);
  }
}

template <size_t kTokens>
void add_block(const Tile<kTokens>& tile, size_t block, size_t n_rows, bool fresh, Scratch<kTokens>& s) {
  for (size_t t = 0; t < kTokens; t += kLanes) {
    for (size_t i = 0; i < kBlock; i += 32) transpose_columns(tile.q + t, block * kBlock + i, s.columns + i, t);
  }
  for (size_t word = 0; word < kWords; ++word) {
    for (size_t i = 0; i < kTables; ++i) build_table(s.columns, kTables * word + i, s.tables[i]);
    if (fresh && word == 0) {
      add_lines<true>(s.indices[word], n_rows, s.tables, s.sums);
    } else {
      add_lines<false>(s.indices[word], n_rows, s.tables, s.sums);
    }
  }
}

template <size_t kTokens>
bool product_of_rows(const TernaryProduct& p, const Tile<kTokens>& tile, RowRange rows, Scratch<kTokens>& s) {
  Reach<kTokens> reach = {};
  bool fresh = true;
  bool first = true;
  for (size_t block = 0; block < p.n_cols / kBlock; ++block) {
    if (!reach.add_block(tile.q, block * kBlock)) {
      store_sums(p, tile, s.sums, rows, {first, false});
      first = false;
      fresh = true;
    }
    if (!find_lines(p, block, rows, s.indices)) {
      return false;
    }
    add_block(tile, block, round_up(rows.n), fresh, s);
    fresh = false;
  }
  store_sums(p, tile, s.sums, rows, {first, true});
  return true;
}

}  // namespace

template <size_t kTokens>
bool lookup_product(const TernaryProduct& p, size_t token) {
  Tile<kTokens> tile = {token, smaller(kTokens, p.n_tokens - token), {}};
  for (size_t t = 0; t < kTokens; ++t) tile.q[t] = p.q + (token + smaller(t, tile.n - 1)) * p.n_cols;
  Scratch<kTokens> scratch;
  static_assert(kMaxLookupColumns * 128 <= 1 << 24 && kMaxRows % kRowsAtOnce == 0);
  const size_t n_passes = (p.n_rows + kMaxRows - 1) / kMaxRows;
  const size_t rows_of_pass = round_up((p.n_rows + n_passes - 1) / n_passes);
  bool known = true;
  for (size_t row = 0; known && row < p.n_rows; row += rows_of_pass) {
    known = product_of_rows(p, tile, {row, smaller(rows_of_pass, p.n_rows - row)}, scratch);
  }
  return known;
}

template bool lookup_product<16>(const TernaryProduct& p, size_t token);
template bool lookup_product<32>(const TernaryProduct& p, size_t token);

}  // namespace tern::kernels::avx2
