// What the AVX2 files share: widening loads, and sums over a register's lanes in the orders of the specification. Only
// for files that are compiled for AVX2 or more.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace tern::kernels::avx2 {

// Internal linkage: a copy of these must never be the one that the linker keeps for files of another instruction set.

// ((v0+v4) + (v1+v5)) + ((v2+v6) + (v3+v7))
static inline float sum_neighbours_first(__m256 v) {
  const __m128 p = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 pairs = _mm_add_ps(p, _mm_movehdup_ps(p));  // p0+p1, ., p2+p3, .
  return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehl_ps(pairs, pairs)));
}

// ((v0+v4) + (v2+v6)) + ((v1+v5) + (v3+v7))
static inline float sum_halves_first(__m256 v) {
  const __m128 p = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 pairs = _mm_add_ps(p, _mm_movehl_ps(p, p));  // p0+p2, p1+p3
  return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs)));
}

static inline __m256 load_wide(const uint16_t* at) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
}
static inline __m256 load_wide(const float* at) { return _mm256_loadu_ps(at); }

}  // namespace tern::kernels::avx2
