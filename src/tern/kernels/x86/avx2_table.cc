#include "tern/kernels/isa_tables.h"
#include "tern/kernels/x86/avx2_functions.h"

namespace tern::kernels {

const KernelTable kAvx2Table = {
    .name = "avx2",
    .half_to_float = avx2::half_to_float,
    .float_to_half = avx2::float_to_half,
    .round_to_half = avx2::round_to_half,
    .round_activations = avx2::round_activations,
    .ternary_product = avx2::ternary_product,
    .ternary_piece = {2560, 32},  // all rows share the building of a table
    .dot_f16 = avx2::dot_f16,
    .dot_f32 = avx2::dot_f32,
    .coarsen_row = avx2::coarsen_row,
    .coarse_product = avx2::coarse_product,
    .rms_norm = avx2::rms_norm,
    .rope = avx2::rope,
    .softmax = avx2::softmax,
    .relu2_times = avx2::relu2_times,
    .silu_times = avx2::silu_times,
};

}  // namespace tern::kernels
