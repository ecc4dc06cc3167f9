#include "tern/kernels/glibc_exp.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace tern::kernels {
namespace {

// 2^(i/32)
constexpr double kPowers[32] = {0x1.0000000000000p0, 0x1.059b0d3158574p0, 0x1.0b5586cf9890fp0, 0x1.11301d0125b51p0,
                                0x1.172b83c7d517bp0, 0x1.1d4873168b9aap0, 0x1.2387a6e756238p0, 0x1.29e9df51fdee1p0,
                                0x1.306fe0a31b715p0, 0x1.371a7373aa9cbp0, 0x1.3dea64c123422p0, 0x1.44e086061892dp0,
                                0x1.4bfdad5362a27p0, 0x1.5342b569d4f82p0, 0x1.5ab07dd485429p0, 0x1.6247eb03a5585p0,
                                0x1.6a09e667f3bcdp0, 0x1.71f75e8ec5f74p0, 0x1.7a11473eb0187p0, 0x1.82589994cce13p0,
                                0x1.8ace5422aa0dbp0, 0x1.93737b0cdc5e5p0, 0x1.9c49182a3f09p0,  0x1.a5503b23e255dp0,
                                0x1.ae89f995ad3adp0, 0x1.b7f76f2fb5e47p0, 0x1.c199bdd85529cp0, 0x1.cb720dcef9069p0,
                                0x1.d5818dcfba487p0, 0x1.dfc97337b9b5fp0, 0x1.ea4afa2a490dap0, 0x1.f50765b6e454p0};

}  // namespace

// sysdeps/ieee754/flt-32/e_expf.c, from Arm's optimized-routines: e^x = 2^(k/32) * 2^(r/32) with an integer k, in
// double. With FMA both uses of the product x * 32/ln 2 are fused, which changes the result for two floats.
float glibc_exp(float x) {
  if (x > 0x1.62e42ep6f) {
    return std::numeric_limits<float>::infinity();
  }
  if (x < -0x1.9fe368p6f) {
    return 0.0f;
  }
  if (x != x) {
    return x + x;
  }
  constexpr double kRounder = 0x1.8p52;  // leaves the rounded integer in the low mantissa bits
  const double wide = static_cast<double>(x);
  const double shifted = std::fma(32 * 0x1.71547652b82fep0, wide, kRounder);
  const double r = std::fma(32 * 0x1.71547652b82fep0, wide, -(shifted - kRounder));
  const uint64_t k = std::bit_cast<uint64_t>(shifted);
  const auto power = std::bit_cast<double>(std::bit_cast<uint64_t>(kPowers[k % 32]) + (k / 32 << 52));
  const double high = 0x1.c6af84b912394p-20 * r + 0x1.ebfce50fac4f3p-13;
  const double low = 0x1.62e42ff0c52d6p-6 * r + 1.0;
  return static_cast<float>((high * (r * r) + low) * power);
}

}  // namespace tern::kernels
