#include "tern/quant/encoding.h"

#include <gtest/gtest.h>

namespace tern::quant {
namespace {

constexpr auto kBitnetCpp = I2sLayout::kBitnetCpp;
constexpr auto kBitNet32 = I2sLayout::kBitNet32F16;
constexpr auto kQK256 = I2sLayout::kQK256;

TEST(Encoding, SizesOfFloats) {
  EXPECT_EQ(encoded_size(Encoding::kF32, kBitnetCpp, 3, 5), 60u);
  EXPECT_EQ(encoded_size(Encoding::kF16, kBitnetCpp, 3, 5), 30u);
}

TEST(Encoding, SizesOfTheThreeI2sLayouts) {
  // The 2B4T model's attention output matrix.
  EXPECT_EQ(encoded_size(Encoding::kI2S, kBitnetCpp, 2560, 2560), 2560u * 2560 / 4 + 32);
  EXPECT_EQ(encoded_size(Encoding::kI2S, kBitNet32, 2560, 2560), 2560u * 80 * 10);
  EXPECT_EQ(encoded_size(Encoding::kI2S, kQK256, 2560, 2560), 2560u * 10 * 64);
  // Where two of them coincide.
  EXPECT_EQ(encoded_size(Encoding::kI2S, kBitnetCpp, 1, 512), encoded_size(Encoding::kI2S, kBitNet32, 1, 512));
}

TEST(Encoding, ColumnsAroundTheBlockSize) {
  for (const uint64_t off_by_one : {127u, 129u}) {
    EXPECT_EQ(encoded_size(Encoding::kI2S, kBitnetCpp, 2, off_by_one), std::nullopt);
  }
  EXPECT_EQ(encoded_size(Encoding::kI2S, kBitnetCpp, 2, 128), 96u);
  EXPECT_EQ(encoded_size(Encoding::kI2S, kBitNet32, 2, 31), std::nullopt);
  EXPECT_EQ(encoded_size(Encoding::kI2S, kBitNet32, 2, 32), 20u);
  EXPECT_EQ(encoded_size(Encoding::kI2S, kBitNet32, 2, 33), std::nullopt);
  EXPECT_EQ(encoded_size(Encoding::kI2S, kQK256, 2, 255), 128u);
  EXPECT_EQ(encoded_size(Encoding::kI2S, kQK256, 2, 256), 128u);
  EXPECT_EQ(encoded_size(Encoding::kI2S, kQK256, 2, 257), 256u);
}

TEST(Encoding, OverflowIsNoSize) {
  EXPECT_EQ(encoded_size(Encoding::kF32, kBitnetCpp, uint64_t{1} << 62, 1), std::nullopt);
  EXPECT_EQ(encoded_size(Encoding::kF16, kBitnetCpp, uint64_t{1} << 32, uint64_t{1} << 32), std::nullopt);
  for (const I2sLayout layout : {kBitnetCpp, kBitNet32, kQK256}) {
    EXPECT_EQ(encoded_size(Encoding::kI2S, layout, uint64_t{1} << 60, 4096), std::nullopt) << layout_name(layout);
  }
  EXPECT_EQ(encoded_size(Encoding::kI2S, kQK256, 1, UINT64_MAX), std::nullopt);
}

TEST(Encoding, Names) {
  EXPECT_EQ(type_name(36), "I2_S");
  EXPECT_EQ(type_name(12), "Q4_K");
  EXPECT_EQ(type_name(4), "type 4");  // removed from ggml
  EXPECT_EQ(type_name(99), "type 99");
  EXPECT_EQ(supported_encoding(36), Encoding::kI2S);
  EXPECT_EQ(supported_encoding(8), std::nullopt);
  for (const I2sLayout layout : {kBitnetCpp, kBitNet32, kQK256}) {
    EXPECT_EQ(layout_from_name(layout_name(layout)), layout);
  }
  EXPECT_EQ(layout_from_name("i2_s"), std::nullopt);
}

}  // namespace
}  // namespace tern::quant
