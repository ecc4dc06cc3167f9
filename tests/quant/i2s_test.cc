#include "tern/quant/i2s.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "tern/quant/half.h"

namespace tern::quant {
namespace {

std::vector<int8_t> random_factors(I2sLayout layout, size_t n) {
  std::mt19937 random(7);
  std::vector<int8_t> factors(n);
  for (int8_t& factor : factors) {
    const auto bits = static_cast<unsigned>(random());
    factor = layout == I2sLayout::kBitnetCpp ? static_cast<int8_t>(static_cast<int>(bits % 3) - 1)
                                             : std::array<int8_t, 4>{-2, -1, 1, 2}[bits % 4];
  }
  return factors;
}

class I2s : public testing::TestWithParam<I2sLayout> {};

TEST_P(I2s, PackAndUnpackAreInverse) {
  const I2sLayout layout = GetParam();
  const float scale = layout == I2sLayout::kQK256 ? 1.0F : 0.75F;  // exact in float16
  const auto block = static_cast<uint64_t>(i2s_block_size(layout));
  for (const uint64_t n_rows : {1u, 2u, 5u}) {
    for (const uint64_t n_cols : {block, 2 * block, 9 * block}) {
      const auto factors = random_factors(layout, n_rows * n_cols);
      const auto packed = i2s_pack(layout, factors, n_rows, n_cols, scale);
      ASSERT_EQ(packed.size(), encoded_size(Encoding::kI2S, layout, n_rows, n_cols));
      const float tensor_scale = layout == I2sLayout::kBitnetCpp ? i2s_tail_scale(packed, n_rows, n_cols) : 0.0F;
      const uint64_t row_bytes = i2s_row_bytes(layout, n_cols);
      std::vector<int8_t> unpacked(n_cols);
      for (uint64_t row = 0; row < n_rows; ++row) {
        const auto bytes = std::span(packed).subspan(row * row_bytes, row_bytes);
        i2s_unpack_row(layout, bytes, unpacked);
        ASSERT_TRUE(std::equal(unpacked.begin(), unpacked.end(), factors.begin() + static_cast<long>(row * n_cols)));
        EXPECT_EQ(i2s_scale_at(layout, bytes, 0, tensor_scale), scale);
        EXPECT_EQ(i2s_scale_at(layout, bytes, n_cols - 1, tensor_scale), scale);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, I2s,
                         testing::Values(I2sLayout::kBitnetCpp, I2sLayout::kBitNet32F16, I2sLayout::kQK256),
                         [](const auto& parameter) {
                           std::string name(layout_name(parameter.param));
                           std::erase(name, '.');
                           return name;
                         });

TEST(I2sBytes, BitnetCppPutsWeightsThatStand32ApartIntoOneByteTopBitsFirst) {
  std::vector<std::byte> row(32, std::byte{0b01010101});  // all 0
  row[5] = std::byte{0b10000110};                         // weights 5, 37, 69, 101: +1, -1, 0, +1
  std::vector<int8_t> factors(128);
  i2s_unpack_row(I2sLayout::kBitnetCpp, row, factors);
  std::vector<int8_t> expected(128, 0);
  expected[5] = 1;
  expected[37] = -1;
  expected[101] = 1;
  EXPECT_EQ(factors, expected);
}

TEST(I2sBytes, BitnetCppTailHoldsTheScale) {
  const auto packed = i2s_pack(I2sLayout::kBitnetCpp, std::vector<int8_t>(256, 1), 2, 128, 0.1F);
  ASSERT_EQ(packed.size(), 96u);
  EXPECT_EQ(packed[63], std::byte{0b10101010});
  float scale = 0;
  std::memcpy(&scale, packed.data() + 64, sizeof(scale));
  EXPECT_EQ(scale, 0.1F);
  EXPECT_TRUE(std::all_of(packed.begin() + 68, packed.end(), [](std::byte byte) { return byte == std::byte{0}; }));
}

TEST(I2sBytes, BitNet32HasFourNeighboursPerByteLowestBitsFirstAndAHalfPerBlock) {
  std::vector<std::byte> row(20, std::byte{0b10101010});  // all +1
  row[1] = std::byte{0b11'10'01'00};                      // weights 4..7: -2, -1, +1, +2
  const uint16_t scales[] = {float_to_half(0.5F), float_to_half(-3.0F)};
  std::memcpy(row.data() + 8, &scales[0], 2);
  std::memcpy(row.data() + 18, &scales[1], 2);
  std::vector<int8_t> factors(64);
  i2s_unpack_row(I2sLayout::kBitNet32F16, row, factors);
  EXPECT_EQ((std::vector<int8_t>(factors.begin() + 3, factors.begin() + 9)), (std::vector<int8_t>{1, -2, -1, 1, 2, 1}));
  EXPECT_EQ(i2s_scale_at(I2sLayout::kBitNet32F16, row, 31, 0), 0.5F);
  EXPECT_EQ(i2s_scale_at(I2sLayout::kBitNet32F16, row, 32, 0), -3.0F);
}

TEST(I2sBytes, QK256PadsRows) {
  for (const uint64_t n_cols : {255u, 256u, 257u, 384u}) {
    const auto factors = random_factors(I2sLayout::kQK256, 3 * n_cols);
    const auto packed = i2s_pack(I2sLayout::kQK256, factors, 3, n_cols, 1.0F);
    const uint64_t row_bytes = n_cols > 256 ? 128 : 64;
    ASSERT_EQ(packed.size(), 3 * row_bytes);
    std::vector<int8_t> last(n_cols);
    i2s_unpack_row(I2sLayout::kQK256, std::span(packed).last(row_bytes), last);
    EXPECT_TRUE(std::equal(last.begin(), last.end(), factors.end() - static_cast<long>(n_cols)));
  }
  const std::vector<std::byte> row(64, std::byte{0b11'10'01'00});
  std::vector<int8_t> factors(4);
  i2s_unpack_row(I2sLayout::kQK256, row, factors);
  EXPECT_EQ(factors, (std::vector<int8_t>{-2, -1, 1, 2}));
  EXPECT_EQ(i2s_scale_at(I2sLayout::kQK256, row, 3, 9.0F), 1.0F);
}

}  // namespace
}  // namespace tern::quant
