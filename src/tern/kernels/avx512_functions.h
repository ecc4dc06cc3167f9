// The functions of the AVX-512 table, between the files that implement them.
#pragma once

#include "tern/kernels/avx2_functions.h"
#include "tern/kernels/table.h"

namespace tern::kernels::avx512 {

void ternary_product(const TernaryProduct& p);
void coarse_product(const CoarseProduct& p);

}  // namespace tern::kernels::avx512
