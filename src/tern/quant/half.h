// IEEE binary16 <-> binary32 in portable code: the truth that kernels/ is tested against.
#pragma once

#include <cstdint>

namespace tern::quant {

// Exact.
float half_to_float(uint16_t half);
// Round to nearest, ties to even; denormals kept; overflow to infinity; NaN stays NaN (quiet).
uint16_t float_to_half(float value);

}  // namespace tern::quant
