// The functions of the NEON table, between the files that implement them.
#pragma once

#include "tern/kernels/table.h"

namespace tern::kernels::neon {

void half_to_float(const uint16_t* in, size_t n, float* out);
void float_to_half(const float* in, size_t n, uint16_t* out);
void round_to_half(const float* in, size_t n, float* out);
RowRounding round_activations(const float* x, size_t n, ActivationRounding rounding, int8_t* q);
void ternary_product(const TernaryProduct& p);
void dot_f16(DotOrder order, const DotProducts<uint16_t>& p);
void dot_f32(DotOrder order, const DotProducts<float>& p);
CoarseRow coarsen_row(const uint16_t* row, size_t n, int8_t* codes);
void coarse_product(const CoarseProduct& p);
void rope(RopePairs pairs, const float* cosine, const float* sine, size_t n_pairs, float* head);
void softmax(float* row, size_t n, float scale);
void relu2_times(const float* gate, const float* up, size_t n, float* out);
void silu_times(const float* gate, const float* up, size_t n, float* out);

}  // namespace tern::kernels::neon
