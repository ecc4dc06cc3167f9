// The functions of the AVX-512 table, between the files that implement them.
#pragma once

#include "tern/kernels/table.h"
#include "tern/kernels/x86/avx2_functions.h"

namespace tern::kernels::avx512 {

void ternary_product(const TernaryProduct& p);
void coarse_product(const CoarseProduct& p);
void dot_f16(DotOrder order, const DotProducts<uint16_t>& p);
void dot_f32(DotOrder order, const DotProducts<float>& p);

}  // namespace tern::kernels::avx512
