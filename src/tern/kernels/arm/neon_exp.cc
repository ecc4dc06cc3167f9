// NEON: softmax and the activation functions. Needs nothing beyond Armv8.0.
#include <arm_neon.h>
#include <math.h>

#include "tern/kernels/arm/neon_functions.h"
#include "tern/kernels/arm/neon_lanes.h"
#include "tern/kernels/glibc_exp.h"

namespace tern::kernels::neon {
namespace {

// See exp_in_lane in scalar.cc.
float32x4_t exp_lanes(float32x4_t x) {
  const float32x4_t r = vdupq_n_f32(0x1.8p23f);
  const float32x4_t z = vfmaq_f32(r, x, vdupq_n_f32(0x1.715476p+0f));
  const float32x4_t n = vsubq_f32(z, r);
  const float32x4_t b = vfmsq_f32(vfmsq_f32(x, n, vdupq_n_f32(0x1.62e4p-1f)), n, vdupq_n_f32(0x1.7f7d1cp-20f));
  const uint32x4_t e = vshlq_n_u32(vreinterpretq_u32_f32(z), 23);
  const float32x4_t k = vreinterpretq_f32_u32(vaddq_u32(e, vdupq_n_u32(0x3f800000)));
  const float32x4_t u = vmulq_f32(b, b);
  const float32x4_t low = vfmaq_f32(vdupq_n_f32(0x1.573e2ep-5f), vdupq_n_f32(0x1.0e4020p-7f), b);
  const float32x4_t high = vfmaq_f32(vdupq_n_f32(0x1.fffdb6p-2f), vdupq_n_f32(0x1.555e66p-3f), b);
  const float32x4_t j = vfmaq_f32(vmulq_f32(vdupq_n_f32(0x1.ffffecp-1f), b), vfmaq_f32(high, low, u), u);
  const float32x4_t usual = vfmaq_f32(k, k, j);
  const float32x4_t magnitude = vabsq_f32(n);
  const uint32x4_t beyond = vcgtq_f32(magnitude, vdupq_n_f32(126.0f));
  if (vmaxvq_u32(beyond) == 0) {
    return usual;
  }
  const uint32x4_t g = vandq_u32(vclezq_f32(n), vdupq_n_u32(0x82000000));
  const float32x4_t s1 = vreinterpretq_f32_u32(vaddq_u32(g, vdupq_n_u32(0x7f000000)));
  const float32x4_t s2 = vreinterpretq_f32_u32(vsubq_u32(e, g));
  const uint32x4_t far_beyond = vcgtq_f32(magnitude, vdupq_n_f32(192.0f));
  const float32x4_t scaled = vmulq_f32(vfmaq_f32(s2, s2, j), s1);
  return vbslq_f32(beyond, vbslq_f32(far_beyond, vmulq_f32(s1, s1), scaled), usual);
}

float largest_of(const float* row, size_t n) {
  float32x4_t lanes = vdupq_n_f32(-INFINITY);
  size_t i = 0;
  for (; i + 4 <= n; i += 4) lanes = larger(vld1q_f32(row + i), lanes);
  float largest = vmaxvq_f32(lanes);
  for (; i < n; ++i) largest = row[i] > largest ? row[i] : largest;
  return largest;
}

// row * scale, and -0 to +0 as adding the mask's zero does.
void scale_row(float* row, size_t n, float scale) {
  size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    vst1q_f32(row + i, vaddq_f32(vmulq_n_f32(vld1q_f32(row + i), scale), vdupq_n_f32(0.0f)));
  }
  for (; i < n; ++i) row[i] = row[i] * scale + 0.0f;
}

float32x4_t silu(float32x4_t x) {
  return vdivq_f32(x, vaddq_f32(vdupq_n_f32(1.0f), exp_lanes(vsubq_f32(vdupq_n_f32(0.0f), x))));
}

}  // namespace

void softmax(float* row, size_t n, float scale) {
  scale_row(row, n, scale);
  const float largest = largest_of(row, n);
  double sum = 0;
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const Lanes x = load_wide(row + i);
    const Lanes e = {exp_lanes(vsubq_f32(x.low, vdupq_n_f32(largest))),
                     exp_lanes(vsubq_f32(x.high, vdupq_n_f32(largest)))};
    store(row + i, e);
    sum += static_cast<double>(sum_halves_first(e));
  }
  for (; i < n; ++i) {
    row[i] = glibc_exp(row[i] - largest);
    sum += static_cast<double>(row[i]);
  }
  const float inverse = static_cast<float>(1.0 / sum);
  for (i = 0; i + 4 <= n; i += 4) vst1q_f32(row + i, vmulq_n_f32(vld1q_f32(row + i), inverse));
  for (; i < n; ++i) row[i] = row[i] * inverse;
}

void relu2_times(const float* gate, const float* up, size_t n, float* out) {
  size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const float32x4_t positive = larger(vld1q_f32(gate + i), vdupq_n_f32(0.0f));
    vst1q_f32(out + i, vmulq_f32(vmulq_f32(positive, positive), vld1q_f32(up + i)));
  }
  for (; i < n; ++i) {
    const float positive = gate[i] > 0.0f ? gate[i] : 0.0f;
    out[i] = (positive * positive) * up[i];
  }
}

// Which elements take the other exponential is prescribed: those behind the last multiple of 8.
void silu_times(const float* gate, const float* up, size_t n, float* out) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const Lanes x = load_wide(gate + i);
    const Lanes y = load_wide(up + i);
    store(out + i, {vmulq_f32(silu(x.low), y.low), vmulq_f32(silu(x.high), y.high)});
  }
  for (; i < n; ++i) out[i] = (gate[i] / (1.0f + glibc_exp(-gate[i]))) * up[i];
}

}  // namespace tern::kernels::neon
