// The arithmetic that a forward pass is made of, as one table of function pointers per instruction set.
//
// kernels/scalar.cc is the truth; every other table must give the very same bits, on every input. That is possible
// because the order of all sums is part of the specification: the lanes, accumulators and horizontal sums below are
// those of bitnet.cpp on x86-64 with AVX2 (docs/numerics.md), and the scalar code walks them one by one.
//
// This header is included by files that are compiled for instruction sets which the machine may lack, so it includes
// nothing but <cstdint> and <cstddef>: an inline std:: function compiled there could end up in the whole program.
// Called by model/ only. Thread rule: every function is pure; outputs of different calls must not overlap.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tern::kernels {

// How a scaled activation becomes an integer. bitnet.cpp's two compilers disagree (ggml-quants.c,
// quantize_row_i8_s): clang rounds the product x*s to float32 first, g++ fuses it into the rounding.
enum class ActivationRounding : uint8_t { kProductFirst, kFused };

// How a dot product is summed.
//   kFour: four accumulators of 8 lanes, 32 elements a step (ggml.c, ggml_vec_dot_f16 and _f32).
//   kOne:  one accumulator of 8 lanes (llamafile/sgemm.cpp); needs a length that is a multiple of 8.
enum class DotOrder : uint8_t { kFour, kOne };

// Which elements of a head RoPE turns together.
enum class RopePairs : uint8_t { kHalves, kNeighbours };  // (i, i + D/2): NeoX; (2i, 2i + 1): llama

// What a row of activations was rounded with: q = round(x * scale); sum = sum of all q.
struct RowRounding {
  float scale;
  int32_t sum;
};

// out[t * out_stride + r] = float(sum_i (code[r][i] - 1) * q[t][i]) / rounding[t].scale * weight_scale, with the sum an
// exact integer (bitnet.cpp's own wraps at 16 bits for extreme inputs; these never do, whatever the codes). codes:
// n_rows * n_cols / 4 bytes in the bitnet.cpp layout (quant/i2s_bitnet_cpp.h); n_cols is a multiple of 128.
struct TernaryProduct {
  const uint8_t* codes;
  float weight_scale;
  size_t n_rows;
  size_t n_cols;
  const int8_t* q;  // [n_tokens, n_cols]
  const RowRounding* rounding;
  size_t n_tokens;
  float* out;
  size_t out_stride;
};

// out[j * out_stride + i] = dot(a + i * a_stride, b + j * b_stride) over `length` elements, in the order asked for.
// kFour: elements behind the last multiple of 32 are added one by one to the lanes' sum, in double for float16 and by
// float32 multiply-add for float32.
template <class A>
struct DotProducts {
  const A* a;
  size_t a_stride;
  size_t n_a;
  const float* b;
  size_t b_stride;
  size_t n_b;
  size_t length;
  float* out;
  size_t out_stride;
};

// A row of float16 values as int8 codes: value_i = scale * code_i + error_i. The squares are rounded float32 sums over
// the row, off by up to n * 2^-24 of themselves.
struct CoarseRow {
  float scale;
  float squared_error;  // sum of error_i^2
  float squared_norm;   // sum of value_i^2
};

// out[r] = sum_i codes[r][i] * x[i], exact. n_cols is a multiple of 32, and the caller ensures that no sum of
// magnitudes passes 2^31 - 1.
struct CoarseProduct {
  const int8_t* codes;  // [n_rows, n_cols]
  size_t n_rows;
  size_t n_cols;
  const int16_t* x;  // [n_cols]
  int32_t* out;      // [n_rows]
};

struct KernelTable {
  const char* name;  // "scalar", "avx2", "neon": what TERN_ISA and reports call it

  // float16 as bits. Round to nearest, ties to even; denormals kept.
  void (*half_to_float)(const uint16_t* in, size_t n, float* out);
  void (*float_to_half)(const float* in, size_t n, uint16_t* out);
  // Through float16 and back; `out` may be `in`.
  void (*round_to_half)(const float* in, size_t n, float* out);

  // Rounds one token's activations to int8: scale = 127 / max(|x|, 1e-5), q = clamp(round(x * scale), -128, 127).
  RowRounding (*round_activations)(const float* x, size_t n, ActivationRounding rounding, int8_t* q);
  void (*ternary_product)(const TernaryProduct& p);
  // Into what pieces a caller best cuts the product with a batch of tokens.
  struct {
    size_t n_rows, n_tokens;
  } ternary_piece;

  void (*dot_f16)(DotOrder order, const DotProducts<uint16_t>& p);
  void (*dot_f32)(DotOrder order, const DotProducts<float>& p);

  // scale = largest |value| / 127 (1e-5 / 127 where all are smaller), code = value / scale rounded as by
  // round_activations(kProductFirst); error by one multiply-add. Both sums: 8 lanes of multiply-adds, then halves first
  // (as DotOrder::kOne). n is a multiple of 32. Where a value is not finite, neither is a sum.
  CoarseRow (*coarsen_row)(const uint16_t* row, size_t n, int8_t* codes);
  void (*coarse_product)(const CoarseProduct& p);

  // out_i = (x_i / sqrt(mean(x^2) + eps)) * weight_i; the squares in float32, their sum in double, in index order.
  void (*rms_norm)(const float* x, const float* weight, size_t n, float eps, float* out);
  // Turns one head of 2 * n_pairs elements in place by the angles whose cosines and sines are given.
  void (*rope)(RopePairs pairs, const float* cosine, const float* sine, size_t n_pairs, float* head);
  // row = softmax(row * scale) in place. Masked entries are -infinity and become +0.
  void (*softmax)(float* row, size_t n, float scale);
  // out_i = act(gate_i) * up_i; `out` may be `gate` or `up`.
  void (*relu2_times)(const float* gate, const float* up, size_t n, float* out);
  void (*silu_times)(const float* gate, const float* up, size_t n, float* out);
};

}  // namespace tern::kernels
