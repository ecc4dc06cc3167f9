#include "tern/kernels/arm/neon_functions.h"
#include "tern/kernels/isa_tables.h"

namespace tern::kernels {
namespace {

// One sum in double in index order, and products that the compiler's own NEON code multiplies: nothing to gain.
void rms_norm(const float* x, const float* weight, size_t n, float eps, float* out) {
  kScalarTable.rms_norm(x, weight, n, eps, out);
}

}  // namespace

const KernelTable kNeonTable = {
    .name = "neon",
    .half_to_float = neon::half_to_float,
    .float_to_half = neon::float_to_half,
    .round_to_half = neon::round_to_half,
    .round_activations = neon::round_activations,
    .ternary_product = neon::ternary_product,
    .ternary_piece = {64, 512},
    .dot_f16 = neon::dot_f16,
    .dot_f32 = neon::dot_f32,
    .coarsen_row = neon::coarsen_row,
    .coarse_product = neon::coarse_product,
    .rms_norm = rms_norm,
    .rope = neon::rope,
    .softmax = neon::softmax,
    .relu2_times = neon::relu2_times,
    .silu_times = neon::silu_times,
};

}  // namespace tern::kernels
