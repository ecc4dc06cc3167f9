#include "tern/compare/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace tern::compare {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Metrics, KnownAngleAndDistances) {
  const std::vector<float> a = {3, 4, 0};
  const std::vector<float> b = {4, 3, 0};
  const Metrics m = measure(a, b);
  EXPECT_EQ(m.n, 3u);
  EXPECT_EQ(m.n_different, 2u);
  EXPECT_DOUBLE_EQ(m.cosine.value(), 24.0 / 25.0);
  EXPECT_DOUBLE_EQ(m.relative_error.value(), std::sqrt(2.0) / 5.0);
  EXPECT_DOUBLE_EQ(m.rms_error, std::sqrt(2.0 / 3.0));
  EXPECT_EQ(m.max_abs, 1.0);
  EXPECT_EQ(m.max_abs_index, 0u);
}

TEST(Metrics, EqualTensorsHaveCosineExactlyOne) {
  std::vector<float> a;
  for (int i = 0; i < 1000; ++i) {
    a.push_back(0.1F * static_cast<float>(i % 37) - 1.7F);
  }
  const Metrics m = measure(a, a);
  EXPECT_EQ(m.cosine.value(), 1.0);
  EXPECT_EQ(m.relative_error.value(), 0.0);
  EXPECT_EQ(m.n_different, 0u);
  for (float& value : a) {
    value = -value;
  }
  std::vector<float> b = a;
  for (float& value : b) {
    value = -value;
  }
  EXPECT_EQ(measure(a, b).cosine.value(), -1.0);
}

TEST(Metrics, NothingIsMadeUpForZeroVectors) {
  const std::vector<float> zero = {0, 0};
  const std::vector<float> one = {1, 0};
  EXPECT_FALSE(measure(zero, zero).cosine);
  EXPECT_FALSE(measure(zero, zero).relative_error);
  EXPECT_FALSE(measure(one, zero).cosine);
  EXPECT_FALSE(measure(one, zero).relative_error);
  EXPECT_FALSE(measure(zero, one).cosine);
  EXPECT_EQ(measure(zero, one).relative_error.value(), 1.0);
}

TEST(Metrics, EmptyTensors) {
  const Metrics m = measure({}, {});
  EXPECT_EQ(m.n, 0u);
  EXPECT_FALSE(m.cosine);
  EXPECT_FALSE(m.relative_error);
  EXPECT_EQ(m.rms_error, 0.0);
}

TEST(Metrics, SignOfZeroIsNoDifference) {
  const std::vector<float> a = {0.0F, 1};
  const std::vector<float> b = {-0.0F, 1};
  EXPECT_EQ(measure(a, b).n_different, 0u);
  EXPECT_EQ(measure(a, b).max_abs, 0.0);
}

TEST(Metrics, NonFiniteElementsAreCountedAndLeftOut) {
  const std::vector<float> a = {kNan, 1, kInfinity, 2};
  const std::vector<float> b = {1, 1, kInfinity, 4};
  const Metrics m = measure(a, b);
  EXPECT_EQ(m.n_non_finite, 2u);
  EXPECT_EQ(m.n_different, 2u);  // the NaN and the 2; the infinities have the same bits
  EXPECT_EQ(m.max_abs, 2.0);
  EXPECT_EQ(m.max_abs_index, 3u);
  EXPECT_DOUBLE_EQ(m.cosine.value(), 9.0 / std::sqrt(5.0 * 17.0));
  const std::vector<float> all_nan = {kNan, kNan};
  const Metrics none = measure(all_nan, all_nan);
  EXPECT_EQ(none.n_non_finite, 2u);
  EXPECT_FALSE(none.cosine);
  EXPECT_EQ(none.n_different, 0u);  // same bits
}

TEST(Metrics, ExtremesNeitherOverflowNorVanish) {
  const float huge = std::numeric_limits<float>::max();
  const float tiny = std::numeric_limits<float>::denorm_min();
  const std::vector<float> a = {huge, huge};
  const std::vector<float> b = {-huge, huge};
  EXPECT_NEAR(measure(a, b).cosine.value(), 0.0, 1e-15);
  EXPECT_EQ(measure(a, b).max_abs, 2.0 * static_cast<double>(huge));
  const std::vector<float> c = {tiny, 0};
  EXPECT_EQ(measure(c, c).cosine.value(), 1.0);
}

}  // namespace
}  // namespace tern::compare
