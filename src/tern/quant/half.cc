#include "tern/quant/half.h"

#include <bit>

namespace tern::quant {

float half_to_float(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1fu;
  const uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0x1f) {  // infinity and NaN
    return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  }
  if (exponent != 0) {
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  }
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;  // zero and denormals: exact in float32
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

uint16_t float_to_half(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  }
  if (magnitude >= 0x477ff000u) {  // 65520 and above: half way to the value after the largest
    return static_cast<uint16_t>(sign | 0x7c00u);
  }
  uint32_t mantissa = magnitude & 0x7fffffu;
  uint32_t shift = 13;
  uint32_t base = ((magnitude >> 23) - 112) << 10;
  if (magnitude < 0x38800000u) {  // below 2^-14: a denormal half, so the leading one is part of the mantissa
    if (magnitude < 0x33000000u) {
      return static_cast<uint16_t>(sign);  // below 2^-25, half of the smallest denormal
    }
    mantissa |= 0x800000u;
    shift = 126 - (magnitude >> 23);
    base = 0;
  }
  const uint32_t kept = mantissa >> shift;
  const uint32_t rest = mantissa & ((1u << shift) - 1);
  const uint32_t half_way = 1u << (shift - 1);
  const uint32_t round_up = rest > half_way || (rest == half_way && (kept & 1u)) ? 1u : 0u;
  return static_cast<uint16_t>(sign | (base + kept + round_up));  // a carry runs into the exponent, as it should
}

}  // namespace tern::quant
