#include "tern/quant/format.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <random>
#include <set>

#include "tern/quant/half.h"
#include "tern/quant/i2s_bitnet32.h"

namespace tern::quant {
namespace {

std::vector<float> decode(const Format& format, std::span<const std::byte> tensor, uint64_t n_rows, uint64_t n_cols) {
  std::vector<float> values(n_rows * n_cols);
  const uint64_t row_bytes = format.row_bytes(n_cols);
  for (uint64_t row = 0; row < n_rows; ++row) {
    format.decode_row(tensor.subspan(row * row_bytes, row_bytes), tensor.last(format.tail_bytes),
                      std::span(values).subspan(row * n_cols, n_cols));
  }
  return values;
}

// Values that the format holds exactly: its levels, or its own rendering of random numbers.
std::vector<float> representable(const Format& format, uint64_t n_rows, uint64_t n_cols, float unit) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> values(n_rows * n_cols);
  for (float& value : values) {
    value = format.levels.empty() ? normal(random)
                                  : static_cast<float>(format.levels[random() % format.levels.size()]) * unit;
  }
  return decode(format, encode(format, values, n_rows, n_cols, unit), n_rows, n_cols);
}

TEST(Formats, RowsAreWellFormed) {
  std::set<std::pair<uint32_t, std::string_view>> keys;
  uint32_t last_type = 0;
  for (const Format* format : formats()) {
    SCOPED_TRACE(fmt::format("{} {}", format->name, format->layout));
    EXPECT_TRUE(keys.emplace(format->type_id, format->layout).second) << "a file could not tell these two apart";
    EXPECT_GE(format->type_id, last_type) << "the table is ordered by type id";
    last_type = format->type_id;
    EXPECT_EQ(type_name(format->type_id), format->name);
    EXPECT_EQ(formats_of_type(format->type_id).size() > 1, !format->layout.empty());
    EXPECT_GT(format->block_cols, 0u);
    EXPECT_GT(format->block_bytes, 0u);
    EXPECT_EQ(format->encode_tail != nullptr, format->tail_bytes > 0);
    EXPECT_EQ(format->alignment & (format->alignment - 1), 0u);
  }
}

TEST(Formats, EncodeInvertsDecode) {
  for (const Format* format : formats()) {
    SCOPED_TRACE(fmt::format("{} {}", format->name, format->layout));
    const float unit = format == &kI2sQk256 ? 1.0F : 0.75F;  // exact in float16
    for (const uint64_t n_rows : {1u, 2u, 5u}) {
      for (const uint64_t n_cols : {format->block_cols, 2 * format->block_cols, 9 * format->block_cols}) {
        const std::vector<float> values = representable(*format, n_rows, n_cols, unit);
        const std::vector<std::byte> bytes = encode(*format, values, n_rows, n_cols, unit);
        ASSERT_EQ(bytes.size(), format->tensor_bytes(n_rows, n_cols));
        EXPECT_EQ(decode(*format, bytes, n_rows, n_cols), values);
      }
    }
  }
}

// A rule's values must stay as near as its widest step allows, and rounding them again must leave them.
TEST(Formats, ActivationRulesRoundToTheirOwnSteps) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (const Format* format : formats()) {
    if (format->activations == nullptr) {
      continue;
    }
    SCOPED_TRACE(format->activations->name);
    std::vector<float> x(512);
    for (float& value : x) value = normal(random);
    std::vector<float> rounded(x.size());
    format->activations->round_row(x, rounded);
    for (size_t i = 0; i < x.size(); ++i) EXPECT_LT(std::abs(rounded[i] - x[i]), 5.0F / 127);
    EXPECT_NE(rounded, x);
    const std::vector<float> zeros(x.size());
    format->activations->round_row(zeros, rounded);
    EXPECT_EQ(rounded, zeros);
  }
}

TEST(Formats, SizesOfFloats) {
  EXPECT_EQ(kF32.tensor_bytes(3, 5), 60u);
  EXPECT_EQ(kF16.tensor_bytes(3, 5), 30u);
}

TEST(Formats, SizesOfTheThreeI2sLayouts) {
  // The 2B4T model's attention output matrix.
  EXPECT_EQ(kI2sBitnetCpp.tensor_bytes(2560, 2560), 2560u * 2560 / 4 + 32);
  EXPECT_EQ(kI2sBitNet32F16.tensor_bytes(2560, 2560), 2560u * 80 * 10);
  EXPECT_EQ(kI2sQk256.tensor_bytes(2560, 2560), 2560u * 10 * 64);
  // Where two of them coincide.
  EXPECT_EQ(kI2sBitnetCpp.tensor_bytes(1, 512), kI2sBitNet32F16.tensor_bytes(1, 512));
}

TEST(Formats, ColumnsAroundTheBlockSize) {
  for (const Format* format : formats()) {
    const uint64_t block = format->block_cols;
    EXPECT_TRUE(format->tensor_bytes(2, block)) << format->name;
    if (!format->is_float()) {
      EXPECT_EQ(format->tensor_bytes(2, block - 1).has_value(), format->pads_rows) << format->name;
      EXPECT_EQ(format->tensor_bytes(2, block + 1).has_value(), format->pads_rows) << format->name;
    }
  }
  EXPECT_EQ(kI2sQk256.tensor_bytes(2, 255), 128u);
  EXPECT_EQ(kI2sQk256.tensor_bytes(2, 256), 128u);
  EXPECT_EQ(kI2sQk256.tensor_bytes(2, 257), 256u);
}

TEST(Formats, OverflowIsNoSize) {
  EXPECT_EQ(kF32.tensor_bytes(uint64_t{1} << 62, 1), std::nullopt);
  EXPECT_EQ(kF16.tensor_bytes(uint64_t{1} << 32, uint64_t{1} << 32), std::nullopt);
  for (const Format* format : formats()) {
    EXPECT_EQ(format->tensor_bytes(uint64_t{1} << 60, 4096), std::nullopt) << format->name;
  }
  EXPECT_EQ(kI2sQk256.tensor_bytes(4, UINT64_MAX), std::nullopt);
}

TEST(Formats, Names) {
  EXPECT_EQ(type_name(36), "I2_S");
  EXPECT_EQ(type_name(12), "Q4_K");
  EXPECT_EQ(type_name(4), "type 4");  // removed from ggml
  EXPECT_EQ(type_name(99), "type 99");
  EXPECT_EQ(type_name_and_id(23), "IQ4_XS (type 23)");
  EXPECT_EQ(type_name_and_id(99), "type 99");
  EXPECT_TRUE(formats_of_type(23).empty());
  for (const Format* format : formats()) {
    std::string name(format->name);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    EXPECT_EQ(find_format(name, format->layout), format);
    EXPECT_THAT(format_names(), testing::Contains(name));
  }
  EXPECT_EQ(find_format("i2_s"), nullptr);
  EXPECT_EQ(find_format("i2_s", "qk2"), nullptr);
  EXPECT_THAT(layouts_of("i2_s"), testing::ElementsAre("bitnet.cpp", "bitnet32", "qk256"));
  EXPECT_THAT(layouts_of("f16"), testing::IsEmpty());
}

TEST(Q8Bytes, ScaleComesFirst) {
  std::vector<std::byte> row(34, std::byte{0});
  const uint16_t scale = float_to_half(0.5F);
  std::memcpy(row.data(), &scale, sizeof(scale));
  row[2] = std::byte{3};
  row[33] = std::byte{0x81};  // -127
  const std::vector<float> values = decode(kQ8_0, row, 1, 32);
  EXPECT_EQ(values.front(), 1.5F);
  EXPECT_EQ(values.back(), -63.5F);
}

// Weights and activations of ggml do not round alike: 0.5 steps go away from zero in one, to the even one in the other.
TEST(Q8Bytes, TiesOfWeightsGoAwayFromZeroAndOfActivationsToEven) {
  std::vector<float> x(32, 0);
  x[0] = 127;
  x[1] = 0.5F;
  x[2] = -2.5F;
  const std::vector<float> weights = decode(kQ8_0, encode(kQ8_0, x, 1, 32, 1), 1, 32);
  EXPECT_EQ(weights[1], 1.0F);
  EXPECT_EQ(weights[2], -3.0F);
  std::vector<float> rounded(32);
  kQ8_0.activations->round_row(x, rounded);
  EXPECT_EQ(rounded[1], 0.0F);
  EXPECT_EQ(rounded[2], -2.0F);
}

TEST(Tq2Bytes, WeightsThatStand32ApartShareAByteLowestBitsFirstAndTheScaleIsLast) {
  std::vector<std::byte> row(66, std::byte{0b01010101});  // all 0
  row[5] = std::byte{0b10'00'01'10};                      // weights 5, 37, 69, 101: +1, 0, -1, +1
  row[33] = std::byte{0b01'01'01'11};                     // weight 129: code 3, which is not written
  const uint16_t scale = float_to_half(0.5F);
  std::memcpy(row.data() + 64, &scale, sizeof(scale));
  std::vector<float> expected(256, 0);
  expected[5] = 0.5F;
  expected[69] = -0.5F;
  expected[101] = 0.5F;
  expected[129] = 1.0F;
  EXPECT_EQ(decode(kTq2_0, row, 1, 256), expected);
}

TEST(Tq2Bytes, LargestActivationOfABlockBecomesMinus127) {
  std::vector<float> x(256, 0.25F), rounded(256);
  x[7] = 2.0F;
  x[9] = -2.0F;  // the first of two counts
  kTq2_0.activations->round_row(x, rounded);
  EXPECT_EQ(rounded[7], 2.0F);
  EXPECT_EQ(rounded[9], -2.0F);
  EXPECT_EQ(rounded[0], 16 * (2.0F / 127));  // 15.875 steps
}

TEST(I2sBytes, BitnetCppPutsWeightsThatStand32ApartIntoOneByteTopBitsFirst) {
  std::vector<std::byte> row(64, std::byte{0b01010101});  // all 0
  row[5] = std::byte{0b10000110};                         // weights 5, 37, 69, 101: +1, -1, 0, +1
  const float scale = 1;
  std::memcpy(row.data() + 32, &scale, sizeof(scale));
  std::vector<float> expected(128, 0);
  expected[5] = 1;
  expected[37] = -1;
  expected[101] = 1;
  EXPECT_EQ(decode(kI2sBitnetCpp, row, 1, 128), expected);
}

TEST(I2sBytes, BitnetCppTailHoldsTheScale) {
  const auto packed = encode(kI2sBitnetCpp, std::vector<float>(256, 0.1F), 2, 128, 0.1F);
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
  const std::vector<float> values = decode(kI2sBitNet32F16, row, 1, 64);
  EXPECT_EQ(std::vector<float>(values.begin() + 3, values.begin() + 9),
            (std::vector<float>{0.5F, -1.0F, -0.5F, 0.5F, 1.0F, 0.5F}));
  EXPECT_EQ(values[31], 0.5F);
  EXPECT_EQ(values[32], -3.0F);
  EXPECT_EQ(i2s_bitnet32::block_scale(row, 1), -3.0F);
}

TEST(I2sBytes, QK256PadsRows) {
  for (const uint64_t n_cols : {255u, 256u, 257u, 384u}) {
    const std::vector<float> values = representable(kI2sQk256, 3, n_cols, 1.0F);
    const auto packed = encode(kI2sQk256, values, 3, n_cols, 1.0F);
    ASSERT_EQ(packed.size(), 3u * (n_cols > 256 ? 128 : 64));
    EXPECT_EQ(decode(kI2sQk256, packed, 3, n_cols), values);
  }
  const std::vector<std::byte> row(64, std::byte{0b11'10'01'00});
  EXPECT_EQ(decode(kI2sQk256, row, 1, 4), (std::vector<float>{-2, -1, 1, 2}));
}

}  // namespace
}  // namespace tern::quant
