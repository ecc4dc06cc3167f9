// Which of the three layouts called I2_S a file has is decided from all its tensors' sizes, or not at all.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gguf/raw_file.h"

namespace tern::gguf::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr uint32_t kI2S = 36;

struct Matrix {
  uint64_t n_cols;
  uint64_t n_rows;
  uint64_t n_bytes;
};

std::string file_of(const std::vector<Matrix>& matrices, uint64_t n_bytes_appended = 0) {
  Header header;
  for (size_t i = 0; i < matrices.size(); ++i) {
    header.tensors.push_back(
        {"m" + std::to_string(i), {matrices[i].n_cols, matrices[i].n_rows}, kI2S, matrices[i].n_bytes});
  }
  std::string bytes = encode_header(header);
  for (const Matrix& matrix : matrices) {
    bytes.append(matrix.n_bytes + padding_after(matrix.n_bytes, header.alignment), '\0');
  }
  return bytes + std::string(n_bytes_appended, '\0');
}

const quant::Format* layout_of(const std::vector<Matrix>& matrices) {
  const std::string bytes = file_of(matrices);
  const auto view = parse(bytes);
  EXPECT_TRUE(view.has_value()) << view.error().line();
  return view ? view->format_of_type(36) : nullptr;
}

TEST(I2sLayoutOfFile, EachIsRecognised) {
  EXPECT_EQ(layout_of({{256, 4, 256 + 32}, {1024, 2, 512 + 32}}), &quant::kI2sBitnetCpp);
  EXPECT_EQ(layout_of({{256, 4, 320}, {1024, 2, 640}}), &quant::kI2sBitNet32F16);
  EXPECT_EQ(layout_of({{256, 4, 256}, {1024, 2, 512}}), &quant::kI2sQk256);
  EXPECT_EQ(layout_of({{384, 4, 4 * 128}}), &quant::kI2sQk256);  // padded rows
  EXPECT_EQ(layout_of({}), nullptr);
}

TEST(I2sLayoutOfFile, Of512WeightsTwoCoincide) {
  EXPECT_THAT(error_of(file_of({{512, 1, 160}})),
              AllOf(HasSubstr("tensor m0"), HasSubstr("bitnet.cpp and bitnet32 both fit"),
                    HasSubstr("bitnet.cpp 160 bytes, bitnet32 160 bytes, qk256 128 bytes")));
  EXPECT_THAT(error_of(file_of({{128, 4, 160}, {512, 1, 160}})), HasSubstr("both fit"));
  // Any other tensor decides.
  EXPECT_EQ(layout_of({{512, 1, 160}, {256, 4, 288}}), &quant::kI2sBitnetCpp);
  EXPECT_EQ(layout_of({{256, 4, 320}, {512, 1, 160}}), &quant::kI2sBitNet32F16);
  EXPECT_EQ(layout_of({{512, 1, 128}}), &quant::kI2sQk256);
}

TEST(I2sLayoutOfFile, OneRowOf128FitsTwo) {
  EXPECT_THAT(error_of(file_of({{128, 1, 64}})), HasSubstr("both fit"));  // 64, 40 with padding, 64
}

TEST(I2sLayoutOfFile, WrongSizesFitNone) {
  const Matrix right = {256, 8, 512 + 32};
  ASSERT_EQ(layout_of({right, right}), &quant::kI2sBitnetCpp);
  for (const uint64_t n_bytes : {32u, 448u, 512u, 576u, 640u, 4096u}) {
    EXPECT_THAT(error_of(file_of({right, {256, 8, n_bytes}, right})),
                AllOf(HasSubstr("tensor m1"), HasSubstr("no I2_S layout fits"),
                      HasSubstr("bitnet.cpp 544 bytes, bitnet32 640 bytes, qk256 512 bytes")))
        << n_bytes;
  }
  EXPECT_THAT(error_of(file_of({right}, 32)), HasSubstr("room for 576 bytes up to the end of the file"));
}

TEST(I2sLayoutOfFile, ColumnsThatNoLayoutHolds) {
  EXPECT_THAT(error_of(file_of({{130, 2, 200}})),
              AllOf(HasSubstr("bitnet.cpp cannot hold this shape"), HasSubstr("bitnet32 cannot hold this shape")));
}

}  // namespace
}  // namespace tern::gguf::test
