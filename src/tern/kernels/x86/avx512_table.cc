#include "tern/kernels/isa_tables.h"
#include "tern/kernels/x86/avx2_functions.h"
#include "tern/kernels/x86/avx512_functions.h"

namespace tern::kernels {

// Where wider registers gain nothing, the AVX2 function stays.
const KernelTable kAvx512Table = {
    .name = "avx512",
    .half_to_float = avx2::half_to_float,
    .float_to_half = avx2::float_to_half,
    .round_to_half = avx2::round_to_half,
    .round_activations = avx2::round_activations,
    .ternary_product = avx512::ternary_product,
    .ternary_piece = {64, 512},  // rows stay in the second-level cache while tokens pass by
    .dot_f16 = avx512::dot_f16,
    .dot_f32 = avx512::dot_f32,
    .coarsen_row = avx2::coarsen_row,
    .coarse_product = avx512::coarse_product,
    .rms_norm = avx2::rms_norm,
    .rope = avx2::rope,
    .softmax = avx2::softmax,
    .relu2_times = avx2::relu2_times,
    .silu_times = avx2::silu_times,
};

}  // namespace tern::kernels
