// The kernels against independent statements of what they compute: exact integers, double precision, the C library.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/random_values.h"
#include "tern/kernels/dispatch.h"
#include "tern/kernels/four_level.h"
#include "tern/kernels/glibc_exp.h"
#include "tern/kernels/rope_angles.h"
#include "tern/quant/format.h"
#include "tern/quant/half.h"

namespace tern::kernels {
namespace {

class KernelTruth : public testing::TestWithParam<const KernelTable*> {
 protected:
  const KernelTable& table() const { return *GetParam(); }
  std::mt19937 random_{7};
};

// The activations for which bitnet.cpp's 16-bit lanes wrap: all weights alike, all activations at the limit.
TEST_P(KernelTruth, ExtremeSumsDoNotWrap) {
  for (const int8_t weight : {int8_t{-1}, int8_t{1}}) {
    for (const int8_t activation : {int8_t{-128}, int8_t{-127}, int8_t{127}}) {
      for (const size_t n_cols : {128U, 2048U, 2176U, 4096U, 6912U, 65536U}) {
        for (const size_t n_tokens : {1U, 4U}) {
          const auto codes = quant::encode(quant::kI2sBitnetCpp, std::vector<float>(n_cols, weight), 1, n_cols, 1.0f);
          const std::vector<int8_t> q(n_cols * n_tokens, activation);
          const auto sum = static_cast<int32_t>(n_cols) * activation;
          const std::vector<RowRounding> rounding(n_tokens, {1.0f, sum});
          std::vector<float> out(n_tokens);
          table().ternary_product({reinterpret_cast<const uint8_t*>(codes.data()), 1.0f, 1, n_cols, q.data(),
                                   rounding.data(), n_tokens, out.data(), 1});
          EXPECT_THAT(out, testing::Each(static_cast<float>(sum * weight))) << n_cols;
        }
      }
    }
  }
}

TEST_P(KernelTruth, TernaryProductIsTheIntegerSum) {
  constexpr size_t kRows = 6, kCols = 1408, kTokens = 6;
  std::vector<int8_t> factors(kRows * kCols), q(kTokens * kCols);
  for (int8_t& factor : factors) factor = static_cast<int8_t>(random_() % 3) - 1;
  for (int8_t& value : q) value = static_cast<int8_t>(random_());
  const std::vector<float> weights(factors.begin(), factors.end());
  const auto codes = quant::encode(quant::kI2sBitnetCpp, weights, kRows, kCols, 1.0f);
  std::vector<RowRounding> rounding(kTokens);
  for (size_t t = 0; t < kTokens; ++t) {
    rounding[t] = {12.5f + static_cast<float>(t), 0};
    for (size_t i = 0; i < kCols; ++i) rounding[t].sum += q[t * kCols + i];
  }
  std::vector<float> out(kTokens * kRows);
  table().ternary_product({reinterpret_cast<const uint8_t*>(codes.data()), 0.75f, kRows, kCols, q.data(),
                           rounding.data(), kTokens, out.data(), kRows});
  for (size_t t = 0; t < kTokens; ++t) {
    for (size_t r = 0; r < kRows; ++r) {
      int64_t sum = 0;
      for (size_t i = 0; i < kCols; ++i) sum += int64_t{factors[r * kCols + i]} * q[t * kCols + i];
      EXPECT_EQ(out[t * kRows + r], static_cast<float>(sum) / rounding[t].scale * 0.75f);
    }
  }
}

// x * s with s = 127 / max: 0.5 lies on a tie, and ties go to the even neighbour.
TEST_P(KernelTruth, RoundActivationsTiesToEven) {
  const std::vector<float> x = {127.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -127.0f, 0.0f, 126.5f};
  std::vector<int8_t> q(x.size());
  const RowRounding rounding =
      table().round_activations(x.data(), x.size(), ActivationRounding::kProductFirst, q.data());
  EXPECT_EQ(rounding.scale, 1.0f);
  EXPECT_THAT(q, testing::ElementsAre(127, 0, 2, 2, 0, -2, -127, 0, 126));
  EXPECT_EQ(rounding.sum, 127 + 0 + 2 + 2 + 0 - 2 - 127 + 0 + 126);
}

TEST_P(KernelTruth, RoundActivationsOfNothingMuch) {
  const std::vector<float> zeros(40, 0.0f);
  std::vector<int8_t> q(zeros.size(), 1);
  EXPECT_EQ(table().round_activations(zeros.data(), zeros.size(), ActivationRounding::kProductFirst, q.data()).scale,
            static_cast<float>(127.0 / 1e-5));
  EXPECT_THAT(q, testing::Each(0));
}

// A product that rounds to a tie in float32 although it lies beside it: the two rounding modes must part here.
TEST_P(KernelTruth, RoundingModesDifferWhereTheProductIsNearATie) {
  int n_different = 0;
  for (int repetition = 0; repetition < 4000; ++repetition) {
    const auto x = random_floats(random_, 1024);
    std::vector<int8_t> product_first(x.size()), fused(x.size());
    const RowRounding rounding =
        table().round_activations(x.data(), x.size(), ActivationRounding::kProductFirst, product_first.data());
    table().round_activations(x.data(), x.size(), ActivationRounding::kFused, fused.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = static_cast<double>(x[i]) * static_cast<double>(rounding.scale);
      ASSERT_EQ(fused[i], static_cast<int8_t>(std::nearbyint(exact)));
      ASSERT_EQ(product_first[i], static_cast<int8_t>(std::nearbyint(x[i] * rounding.scale)));
      n_different += fused[i] != product_first[i] ? 1 : 0;
    }
  }
  EXPECT_GT(n_different, 0);
}

TEST_P(KernelTruth, SoftmaxExtremes) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  // Differences to the maximum for which e^x is ordinary, denormal, and 0.
  std::vector<float> row = {0.0f,       -1.0f,  -87.0f, -88.0f, -100.0f, -103.0f, -104.0f,    -1000.0f,
                            -kInfinity, -3e38f, -20.0f, -0.0f,  -50.0f,  -95.0f,  -kInfinity, -kInfinity};
  const std::vector<float> before = row;
  table().softmax(row.data(), row.size(), 1.0f);
  double sum = 0;
  for (const float value : before) sum += std::exp(static_cast<double>(value));
  for (size_t i = 0; i < row.size(); ++i) {
    const double wanted = std::exp(static_cast<double>(before[i])) / sum;
    // Two units in the last place, or two denormal steps.
    EXPECT_NEAR(static_cast<double>(row[i]), wanted, std::max(wanted * 2.4e-7, 2.9e-45)) << before[i];
  }
  EXPECT_EQ(std::signbit(row[8]), false);
  EXPECT_EQ(row[8], 0.0f);
}

TEST_P(KernelTruth, SiluExtremes) {
  const std::vector<float> gate = {0.0f, -0.0f, 1e30f, -1e30f, 90.0f, -90.0f, 1.0f, -1.0f};
  const std::vector<float> up(gate.size(), 1.0f);
  std::vector<float> out(gate.size());
  table().silu_times(gate.data(), up.data(), gate.size(), out.data());
  for (size_t i = 0; i < gate.size(); ++i) {
    const double x = static_cast<double>(gate[i]);
    const double wanted = x / (1.0 + std::exp(-x));
    EXPECT_NEAR(static_cast<double>(out[i]), wanted, std::abs(wanted) * 3e-7 + 1e-37) << gate[i];
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, KernelTruth, testing::ValuesIn(runnable_tables()),
                         [](const auto& table) { return std::string(table.param->name); });

// quant/half.h is the truth for float16, and the scalar table must simply be it.
TEST(ScalarTable, HalvesAreThoseOfQuant) {
  for (uint32_t bits = 0; bits < 1 << 16; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    float value = 0;
    scalar().half_to_float(&half, 1, &value);
    ASSERT_TRUE(same_bits(value, quant::half_to_float(half))) << bits;
  }
}

// Where glibc's expf differs between a CPU with and one without fused multiply-add: these are those with.
TEST(GlibcExp, IsThatOfCpusWithFusedMultiplyAdd) {
  EXPECT_EQ(std::bit_cast<uint32_t>(glibc_exp(0x1.04845ep+5f)), 0x56fc9f1cu);
  EXPECT_EQ(std::bit_cast<uint32_t>(glibc_exp(-0x1.f8cbb2p+5f)), 0x11fa2993u);
}

#if defined(__GLIBC__)
TEST(GlibcExp, IsGlibcs) {
  for (uint64_t bits = 0; bits < uint64_t{1} << 32; bits += 1009) {
    const auto x = std::bit_cast<float>(static_cast<uint32_t>(bits));
    ASSERT_TRUE(same_bits(glibc_exp(x), expf(x))) << x;
  }
  for (const float x : {0x1.62e42ep6f, -0x1.9fe368p6f, -0x1.9d1d9ep6f, std::numeric_limits<float>::infinity()}) {
    for (const float near : {std::nextafter(x, -1000.0f), x, std::nextafter(x, 1000.0f), -x}) {
      EXPECT_TRUE(same_bits(glibc_exp(near), expf(near))) << near;
    }
  }
}

TEST(RopeAngles, SineAndCosineAreGlibcs) {
  std::mt19937 random(11);
  std::uniform_real_distribution<float> exponent(-14.0f, 24.0f);
  for (int i = 0; i < 400000; ++i) {
    const float y = std::exp2(exponent(random));
    ASSERT_TRUE(same_bits(glibc_sin(y), sinf(y))) << y;
    ASSERT_TRUE(same_bits(glibc_cos(y), cosf(y))) << y;
  }
  for (const float y : {0.0f, 0x1p-12f, 0.75f, std::nextafter(0.75f, 0.0f), 120.0f, std::nextafter(120.0f, 0.0f)}) {
    EXPECT_TRUE(same_bits(glibc_sin(y), sinf(y))) << y;
    EXPECT_TRUE(same_bits(glibc_cos(y), cosf(y))) << y;
  }
}
#endif

TEST(RopeAngles, AreCloseToTheFormula) {
  std::vector<float> cosine(64), sine(64);
  rope_angles(500000.0f, 128, 4095, cosine.data(), sine.data());
  for (size_t i = 0; i < 64; ++i) {
    const double theta = 4095.0 * std::pow(500000.0, -2.0 * static_cast<double>(i) / 128.0);
    EXPECT_NEAR(static_cast<double>(cosine[i]), std::cos(theta), 2e-3);  // theta is chained in float32
    EXPECT_NEAR(static_cast<double>(sine[i]), std::sin(theta), 2e-3);
  }
}

TEST(FourLevel, MatchesDoublePrecision) {
  std::mt19937 random(3);
  constexpr int8_t kLevels[] = {-2, -1, 1, 2};
  constexpr size_t kTokens = 3;
  for (const quant::Format* format : {&quant::kI2sBitNet32F16, &quant::kI2sQk256}) {
    const bool padded_rows = format->pads_rows;
    for (const size_t n_cols : {size_t{256}, size_t{512}, padded_rows ? size_t{300} : size_t{288}}) {
      const float scale = padded_rows ? 1.0f : 0.3125f;  // exact in float16
      std::vector<int8_t> factors(n_cols), q(kTokens * n_cols), scratch(n_cols);
      for (int8_t& factor : factors) factor = kLevels[random() % 4];
      for (int8_t& value : q) value = static_cast<int8_t>(random());
      std::vector<float> weights(n_cols);
      std::transform(factors.begin(), factors.end(), weights.begin(),
                     [&](int8_t factor) { return static_cast<float>(factor) * scale; });
      const auto row = quant::encode(*format, weights, 1, n_cols, scale);
      const std::vector<RowRounding> rounding = {{10.0f, 0}, {3.0f, 0}, {127.0f, 0}};
      std::vector<float> out(kTokens);
      const auto row_product = padded_rows ? qk256_row_product : bitnet32_row_product;
      row_product({row, q.data(), rounding.data(), kTokens, out.data(), 1}, scratch);
      for (size_t t = 0; t < kTokens; ++t) {
        double sum = 0;
        for (size_t i = 0; i < n_cols; ++i)
          sum += static_cast<double>(factors[i]) * static_cast<double>(scale) * q[t * n_cols + i];
        const double wanted = sum / static_cast<double>(rounding[t].scale);
        EXPECT_NEAR(static_cast<double>(out[t]), wanted, 1e-5 * (1.0 + std::abs(wanted))) << n_cols;
      }
    }
  }
}

}  // namespace
}  // namespace tern::kernels
