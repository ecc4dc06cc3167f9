// The cosines and sines that RoPE turns by, exactly as bitnet.cpp has them: ggml.c, ggml_rope_cache_init, with glibc's
// cosf and sinf. Both are computed here, so that every machine and C library gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tern::kernels {

// glibc 2.28's sinf and cosf (sysdeps/ieee754/flt-32/s_sincosf.h) for y >= 0; they are not correctly rounded.
float glibc_sin(float y);
float glibc_cos(float y);

// theta_0 = position, theta_{i+1} = theta_i * base^(-2/head_dim), each rounded to float32. Fills head_dim / 2 of each.
void rope_angles(float base, size_t head_dim, int64_t position, float* cosine, float* sine);

}  // namespace tern::kernels
