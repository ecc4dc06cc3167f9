// The functions of the AVX2 table, between the files that implement them.
#pragma once

#include "tern/kernels/table.h"

namespace tern::kernels::avx2 {

void half_to_float(const uint16_t* in, size_t n, float* out);
void float_to_half(const float* in, size_t n, uint16_t* out);
void round_to_half(const float* in, size_t n, float* out);
RowRounding round_activations(const float* x, size_t n, ActivationRounding rounding, int8_t* q);
void ternary_product(const TernaryProduct& p);

// The product for the kTokens (16 or 32) tokens from `token` on, or for those that are left, by look-up. Takes the time
// of all kTokens, and pays for hundreds of rows and more. False, with anything in these tokens' outputs, if there is a
// code 3. At least one row and one token; up to kMaxLookupColumns columns. Takes 270 KB of stack.
constexpr size_t kMaxLookupColumns = size_t{1} << 17;
template <size_t kTokens>
bool lookup_product(const TernaryProduct& p, size_t token);

void dot_f16(DotOrder order, const DotProducts<uint16_t>& p);
void dot_f32(DotOrder order, const DotProducts<float>& p);
CoarseRow coarsen_row(const uint16_t* row, size_t n, int8_t* codes);
void coarse_product(const CoarseProduct& p);
void rms_norm(const float* x, const float* weight, size_t n, float eps, float* out);
void rope(RopePairs pairs, const float* cosine, const float* sine, size_t n_pairs, float* head);
void softmax(float* row, size_t n, float scale);
void relu2_times(const float* gate, const float* up, size_t n, float* out);
void silu_times(const float* gate, const float* up, size_t n, float* out);

}  // namespace tern::kernels::avx2
