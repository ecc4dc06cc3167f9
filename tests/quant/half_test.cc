#include "tern/quant/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace tern::quant {
namespace {

constexpr uint32_t kInfinityBits = 0x7c00;

TEST(Half, EveryValueSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = half_to_float(half);
    if ((bits & 0x7fff) > kInfinityBits) {
      EXPECT_TRUE(std::isnan(value)) << bits;
      EXPECT_TRUE(std::isnan(half_to_float(float_to_half(value)))) << bits;
    } else {
      ASSERT_EQ(float_to_half(value), half) << bits;
    }
  }
}

TEST(Half, KnownValues) {
  EXPECT_EQ(half_to_float(0x3c00), 1.0F);
  EXPECT_EQ(half_to_float(0xc000), -2.0F);
  EXPECT_EQ(half_to_float(0x7bff), 65504.0F);
  EXPECT_EQ(half_to_float(0x0001), 0x1p-24F);
  EXPECT_EQ(half_to_float(0x0400), 0x1p-14F);
  EXPECT_EQ(half_to_float(0x3555), 0.333251953125F);
  EXPECT_TRUE(std::signbit(half_to_float(0x8000)));
}

// Between each two neighbours: just below the middle, the middle (to even), just above it. With monotony, that is all
// of rounding.
TEST(Half, RoundsToNearestEven) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (uint32_t bits = 0; bits < kInfinityBits; ++bits) {
    const auto low = static_cast<uint16_t>(bits);
    const auto high = static_cast<uint16_t>(bits + 1);
    const float above = high == kInfinityBits ? 65536.0F : half_to_float(high);
    const float middle = (half_to_float(low) + above) / 2;  // exact: 12 significant bits
    const uint16_t even = (bits & 1) == 0 ? low : high;
    ASSERT_EQ(float_to_half(middle), even) << bits;
    ASSERT_EQ(float_to_half(std::nextafter(middle, 0.0F)), low) << bits;
    ASSERT_EQ(float_to_half(std::nextafter(middle, infinity)), high) << bits;
    ASSERT_EQ(float_to_half(-middle), even | 0x8000) << bits;
  }
}

TEST(Half, BeyondTheRange) {
  EXPECT_EQ(float_to_half(std::numeric_limits<float>::max()), kInfinityBits);
  EXPECT_EQ(float_to_half(-std::numeric_limits<float>::infinity()), kInfinityBits | 0x8000);
  EXPECT_EQ(float_to_half(std::numeric_limits<float>::denorm_min()), 0);
  EXPECT_EQ(float_to_half(-0.0F), 0x8000);
}

}  // namespace
}  // namespace tern::quant
