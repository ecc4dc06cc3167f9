// Products of ternary weights with many tokens: every instruction set's table against the scalar truth, bit for bit, at
// the edges of the tiles, blocks and passes that kernels work in, and with values that bring sums to their limits.
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "kernels/random_values.h"
#include "tern/kernels/dispatch.h"
#include "tern/kernels/table.h"

namespace tern::kernels {
namespace {

struct Shape {
  size_t n_rows;
  size_t n_cols;
  size_t n_tokens;
};

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  return out << shape.n_rows << " x " << shape.n_cols << ", tokens " << shape.n_tokens;
}

class TernaryProducts : public testing::TestWithParam<const KernelTable*> {
 protected:
  uint8_t ternary_byte() {
    uint32_t byte = 0;
    for (int i = 0; i < 4; ++i) byte = 4 * byte + static_cast<uint32_t>(random_() % 3);
    return static_cast<uint8_t>(byte);
  }

  // Random weights without code 3, and random activations of all magnitudes.
  void fill(const Shape& shape) {
    codes_.resize(shape.n_rows * shape.n_cols / 4);
    for (uint8_t& byte : codes_) byte = ternary_byte();
    q_.resize(shape.n_tokens * shape.n_cols);
    for (int8_t& value : q_) value = static_cast<int8_t>(random_());
  }

  // Rows of the result stand between others, which must stay as they are, and begin at any multiple of 4 bytes.
  void expect_equal(const Shape& shape) {
    std::vector<RowRounding> rounding(shape.n_tokens);
    for (size_t t = 0; t < shape.n_tokens; ++t) rounding[t] = {0.37f + static_cast<float>(t), 0};
    for (size_t i = 0; i < q_.size(); ++i) rounding[i / shape.n_cols].sum += q_[i];
    const size_t offset = random_() % 17;
    const size_t stride = shape.n_rows + random_() % 5;
    std::vector<float> wanted(offset + shape.n_tokens * stride + 16, -1.0f), got = wanted;
    TernaryProduct product{codes_.data(),   0.61f,          shape.n_rows,           shape.n_cols, q_.data(),
                           rounding.data(), shape.n_tokens, wanted.data() + offset, stride};
    scalar().ternary_product(product);
    product.out = got.data() + offset;
    GetParam()->ternary_product(product);
    ASSERT_EQ(first_difference(got, wanted), -1) << shape << ", stride " << stride << ", offset " << offset;
  }

  std::mt19937 random_{20261123};
  std::vector<uint8_t> codes_;
  std::vector<int8_t> q_;
};

TEST_P(TernaryProducts, TokensAroundTiles) {
  for (const size_t n_tokens :
       {7U, 8U, 9U, 15U, 16U, 17U, 22U, 23U, 25U, 31U, 32U, 33U, 35U, 40U, 41U, 48U, 63U, 67U}) {
    for (const size_t n_cols : {128U, 384U}) {
      const Shape shape{150, n_cols, n_tokens};
      fill(shape);
      expect_equal(shape);
    }
  }
}

TEST_P(TernaryProducts, RowsAroundGroups) {
  for (const size_t n_rows : {1U, 2U, 3U, 4U, 5U, 63U, 64U, 127U, 128U, 129U, 135U, 143U, 144U, 145U, 256U, 300U}) {
    const Shape shape{n_rows, 256, 35};
    fill(shape);
    expect_equal(shape);
  }
}

TEST_P(TernaryProducts, MoreRowsThanOnePassTakes) {
  for (const size_t n_rows : {2559U, 2560U, 2561U, 5121U}) {
    for (const size_t n_tokens : {9U, 33U}) {
      const Shape shape{n_rows, 128, n_tokens};
      fill(shape);
      expect_equal(shape);
    }
  }
}

TEST_P(TernaryProducts, ManyColumns) {
  for (const size_t n_cols : {2560U, 2688U, 6912U}) {
    const Shape shape{131, n_cols, 33};
    fill(shape);
    expect_equal(shape);
  }
}

// The largest sums of either sign, of one or of all tokens, next to sums that leave much room.
TEST_P(TernaryProducts, ExtremeSums) {
  const Shape shape{130, 2560, 41};
  for (const int byte : {0x00, 0xaa, -1}) {
    for (const int value : {-128, -127, 127}) {
      for (const bool all_tokens : {false, true}) {
        fill(shape);
        for (size_t i = 0; byte >= 0 && i < codes_.size(); ++i) codes_[i] = static_cast<uint8_t>(byte);
        for (size_t i = 0; i < q_.size(); ++i) {
          q_[i] = static_cast<int8_t>(all_tokens || i / shape.n_cols == 13 ? value : static_cast<int>(random_() % 3));
        }
        expect_equal(shape);
      }
    }
  }
}

// Weights that follow the activations' signs take every sum as far as its magnitudes allow, at every column on the way.
TEST_P(TernaryProducts, SumsOfOneSign) {
  const Shape shape{128, 1408, 32};
  for (int repetition = 0; repetition < 3; ++repetition) {
    fill(shape);
    const size_t token = random_() % shape.n_tokens;
    for (size_t i = 0; i < codes_.size(); ++i) {
      const size_t in_row = i % (shape.n_cols / 4);
      const bool opposite = i / (shape.n_cols / 4) % 2 == 1;
      uint32_t byte = 0;
      for (size_t k = 0; k < 4; ++k) {
        const int8_t value = q_[token * shape.n_cols + in_row / 32 * 128 + 32 * k + in_row % 32];
        byte = 4 * byte + ((value < 0) != opposite ? 0 : 2);
      }
      codes_[i] = static_cast<uint8_t>(byte);
    }
    expect_equal(shape);
  }
}

// Code 3 is not a weight, but a file may hold it: anywhere, once, or often.
TEST_P(TernaryProducts, CodeThree) {
  const Shape shape{140, 512, 50};
  for (const size_t at : {size_t{0}, shape.n_cols / 4 - 1, shape.n_rows * shape.n_cols / 4 - 1}) {
    for (const int bits : {0x03, 0x0c, 0x30, 0xc0, 0xff}) {
      fill(shape);
      codes_[at] = static_cast<uint8_t>(codes_[at] | bits);
      expect_equal(shape);
    }
  }
  fill(shape);
  for (uint8_t& byte : codes_) byte = static_cast<uint8_t>(random_());
  expect_equal(shape);
}

TEST_P(TernaryProducts, RandomShapes) {
  for (int repetition = 0; repetition < 60; ++repetition) {
    const Shape shape{1 + random_() % 400, 128 * (1 + random_() % 12), 1 + random_() % 70};
    fill(shape);
    // Small activations, so that sums run on over many blocks.
    const int spread = 1 + static_cast<int>(random_() % 127);
    for (int8_t& value : q_) value = static_cast<int8_t>(value % spread);
    expect_equal(shape);
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, TernaryProducts, testing::ValuesIn(others()),
                         [](const auto& each) { return std::string(each.param->name); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(TernaryProducts);

}  // namespace
}  // namespace tern::kernels
