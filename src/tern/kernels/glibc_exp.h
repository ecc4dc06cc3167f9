// The exponential behind the last multiple of eight in a row, exactly as bitnet.cpp gets it from the C library.
// Computed here for the reason of rope_angles.h.
#pragma once

namespace tern::kernels {

// glibc's expf (2.28 and later) on x86-64 with FMA: the same for every float. Not correctly rounded.
float glibc_exp(float x);

}  // namespace tern::kernels
