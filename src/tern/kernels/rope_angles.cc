#include "tern/kernels/rope_angles.h"

#include <bit>
#include <cmath>

namespace tern::kernels {
namespace {

// 2/pi in hexadecimal, of which word(k) gives the four bytes that end at byte k.
constexpr uint8_t kTwoOverPi[24] = {0xA2, 0xF9, 0x83, 0x6E, 0x4E, 0x44, 0x15, 0x29, 0xFC, 0x27, 0x57, 0xD1,
                                    0xF5, 0x34, 0xDD, 0xC0, 0xDB, 0x62, 0x95, 0x99, 0x3C, 0x43, 0x90, 0x41};

uint32_t word(size_t k) {
  uint32_t value = 0;
  for (size_t back = 4; back-- > 0;) {
    value = value << 8 | (k >= back ? kTwoOverPi[k - back] : 0u);
  }
  return value;
}

struct Reduced {
  double x;      // y minus quadrant * pi/2
  int quadrant;  // of which only the low bits count
};

Reduced reduce(float y) {
  const double wide = static_cast<double>(y);
  if (y < 0.75f) {
    return {wide, 0};
  }
  if (y < 120.0f) {
    const int n = (static_cast<int>(wide * 0x1.45F306DC9C883p+23) + 0x800000) >> 24;
    return {wide - n * 0x1.921FB54442D18p0, n};
  }
  const uint32_t bits = std::bit_cast<uint32_t>(y);
  const size_t i = bits >> 26 & 15;
  const uint32_t m = ((bits & 0xffffff) | 0x800000) << (bits >> 23 & 7);
  const uint32_t top = m * word(i);
  const uint64_t middle = uint64_t{m} * word(i + 4);
  const uint64_t bottom = uint64_t{m} * word(i + 8);
  const uint64_t r = (uint64_t{top} << 32 | bottom >> 32) + middle;
  const uint64_t n = (r + (uint64_t{1} << 61)) >> 62;
  return {static_cast<double>(static_cast<int64_t>(r - (n << 62))) * 0x1.921FB54442D18p-62, static_cast<int>(n)};
}

float sine_polynomial(double x, int quadrant) {
  const double sign = (quadrant & 3) == 0 || (quadrant & 3) == 3 ? 1.0 : -1.0;
  const double x2 = x * x;
  const double signed_x = x * sign;
  const double x3 = signed_x * x2;
  const double low = signed_x + x3 * -0x1.555545995a603p-3;
  const double high = 0x1.1107605230bc4p-7 + x2 * -0x1.994eb3774cf24p-13;
  return static_cast<float>(low + (x3 * x2) * high);
}

float cosine_polynomial(double x, int quadrant) {
  const double x2 = x * x;
  const double x4 = x2 * x2;
  const double x6 = x4 * x2;
  const double low = (1.0 + x2 * -0x1.ffffffd0c621cp-2) + x4 * 0x1.55553e1068f19p-5;
  const double high = -0x1.6c087e89a359dp-10 + x2 * 0x1.99343027bf8c3p-16;
  const float value = static_cast<float>(low + x6 * high);
  return (quadrant & 2) != 0 ? -value : value;
}

}  // namespace

float glibc_sin(float y) {
  if (y < 0x1p-12f) {
    return y;
  }
  const Reduced reduced = reduce(y);
  return (reduced.quadrant & 1) == 0 ? sine_polynomial(reduced.x, reduced.quadrant)
                                     : cosine_polynomial(reduced.x, reduced.quadrant);
}

float glibc_cos(float y) {
  if (y < 0x1p-12f) {
    return 1.0f;
  }
  const Reduced reduced = reduce(y);
  return (reduced.quadrant & 1) != 0 ? sine_polynomial(reduced.x, reduced.quadrant)
                                     : cosine_polynomial(reduced.x, reduced.quadrant);
}

void rope_angles(float base, size_t head_dim, int64_t position, float* cosine, float* sine) {
  const float exponent = -2.0f / static_cast<float>(head_dim);
  const float step = static_cast<float>(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  float theta = static_cast<float>(position);
  for (size_t i = 0; i < head_dim / 2; ++i) {
    cosine[i] = glibc_cos(theta);
    sine[i] = glibc_sin(theta);
    theta *= step;
  }
}

}  // namespace tern::kernels
