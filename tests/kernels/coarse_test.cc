// Rounding float16 rows to int8 and multiplying with them: every table against the scalar truth, and that against
// plain arithmetic.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/random_values.h"
#include "tern/kernels/dispatch.h"
#include "tern/quant/half.h"

namespace tern::kernels {
namespace {

std::vector<uint16_t> halves_of(const std::vector<float>& values) {
  std::vector<uint16_t> halves(values.size());
  for (size_t i = 0; i < values.size(); ++i) halves[i] = quant::float_to_half(values[i]);
  return halves;
}

class Coarse : public testing::TestWithParam<const KernelTable*> {
 protected:
  std::mt19937 random_{20261123};
};

TEST_P(Coarse, RowIsTheScalarTablesBitForBit) {
  for (const size_t n : {32U, 64U, 96U, 2560U}) {
    for (const float spread : {0.0f, 1e-7f, 1e-5f, 0.02f, 3.0f, 10000.0f}) {
      const auto row = halves_of(random_floats(random_, n, spread));
      std::vector<int8_t> wanted_codes(n), codes(n);
      const CoarseRow wanted = scalar().coarsen_row(row.data(), n, wanted_codes.data());
      const CoarseRow got = GetParam()->coarsen_row(row.data(), n, codes.data());
      EXPECT_EQ(codes, wanted_codes) << n << ", spread " << spread;
      EXPECT_TRUE(same_bits(got.scale, wanted.scale));
      EXPECT_TRUE(same_bits(got.squared_error, wanted.squared_error));
      EXPECT_TRUE(same_bits(got.squared_norm, wanted.squared_norm));
    }
  }
}

TEST_P(Coarse, SumsDescribeTheRow) {
  const size_t n = 2560;
  const auto row = halves_of(random_floats(random_, n, 0.02f));
  std::vector<int8_t> codes(n);
  const CoarseRow coarse = GetParam()->coarsen_row(row.data(), n, codes.data());
  double squared_error = 0, squared_norm = 0, largest_error = 0;
  for (size_t i = 0; i < n; ++i) {
    const auto value = static_cast<double>(quant::half_to_float(row[i]));
    const double error = value - static_cast<double>(coarse.scale) * codes[i];
    squared_error += error * error;
    squared_norm += value * value;
    largest_error = std::max(largest_error, std::abs(error));
  }
  EXPECT_NEAR(static_cast<double>(coarse.squared_error) / squared_error, 1, 1e-5);
  EXPECT_NEAR(static_cast<double>(coarse.squared_norm) / squared_norm, 1, 1e-5);
  EXPECT_LE(largest_error, static_cast<double>(coarse.scale) * 0.50001);
}

TEST_P(Coarse, NonFiniteWeightsShowInTheSums) {
  for (const uint16_t bad : std::initializer_list<uint16_t>{0x7c00, 0xfc00, 0x7e00}) {  // infinities, NaN
    std::vector<uint16_t> row(64, 0x3c00);
    row[37] = bad;
    std::vector<int8_t> codes(row.size());
    const CoarseRow coarse = GetParam()->coarsen_row(row.data(), row.size(), codes.data());
    EXPECT_FALSE(std::isfinite(coarse.squared_norm) && std::isfinite(coarse.squared_error)) << bad;
  }
}

TEST_P(Coarse, ProductIsExact) {
  for (const size_t n_cols : {32U, 64U, 96U, 2560U}) {
    const auto limit = static_cast<int32_t>(std::min<size_t>(32767, 2147483647 / (127 * n_cols)));
    for (const size_t n_rows : {1U, 3U, 4U, 5U, 9U}) {
      for (const bool extreme : {false, true}) {
        std::vector<int8_t> codes(n_rows * n_cols);
        std::vector<int16_t> x(n_cols);
        const auto draw = [&](int32_t most) {
          return extreme ? most : static_cast<int32_t>(random_() % static_cast<uint32_t>(2 * most + 1)) - most;
        };
        for (int8_t& code : codes) code = static_cast<int8_t>(draw(127));
        for (int16_t& value : x) value = static_cast<int16_t>(-draw(limit));
        std::vector<int32_t> out(n_rows + 1, -1);
        GetParam()->coarse_product({codes.data(), n_rows, n_cols, x.data(), out.data()});
        for (size_t r = 0; r < n_rows; ++r) {
          int64_t sum = 0;
          for (size_t i = 0; i < n_cols; ++i) sum += int64_t{codes[r * n_cols + i]} * x[i];
          ASSERT_EQ(out[r], sum) << n_rows << " x " << n_cols;
        }
        ASSERT_EQ(out[n_rows], -1);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, Coarse, testing::ValuesIn(runnable_tables()),
                         [](const auto& table) { return std::string(table.param->name); });

}  // namespace
}  // namespace tern::kernels
