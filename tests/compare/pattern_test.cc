#include "tern/compare/pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace tern::compare {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr double kNoise = 1e-6;
constexpr size_t kTokens = 6, kHeads = 4, kWidth = 8;

// [tokens, heads * width] of numbers that nothing relates.
std::vector<float> numbers() {
  std::vector<float> values;
  uint32_t state = 12345;
  for (size_t i = 0; i < kTokens * kHeads * kWidth; ++i) {
    state = state * 1664525 + 1013904223;
    values.push_back(static_cast<float>(state >> 8) / 16777216.0F - 0.5F);
  }
  return values;
}

std::vector<std::string> see(const std::vector<float>& is, const std::vector<float>& should) {
  return patterns({kTokens, kHeads * kWidth}, is, should, kNoise, kHeads);
}

TEST(Patterns, NoneInNoise) {
  std::vector<float> is = numbers();
  std::reverse(is.begin(), is.end());
  EXPECT_THAT(see(is, numbers()), IsEmpty());
}

TEST(Patterns, ConstantRatio) {
  std::vector<float> is = numbers();
  for (float& value : is) value *= -0.5F;
  EXPECT_THAT(see(is, numbers()), ElementsAre("every value is -0.5 times what it should be"));
}

TEST(Patterns, ConstantOffset) {
  std::vector<float> is = numbers();
  for (float& value : is) value += 0.25F;
  EXPECT_THAT(see(is, numbers()), ElementsAre("every value is 0.25 too large"));
}

TEST(Patterns, AnotherOrder) {
  std::vector<float> is = numbers();
  for (size_t t = 0; t < kTokens; ++t) {
    const auto row = is.begin() + static_cast<std::ptrdiff_t>(t * kHeads * kWidth);
    std::rotate(row, row + kWidth, row + kHeads * kWidth);
  }
  EXPECT_THAT(see(is, numbers()), ElementsAre("each token has the same values in another order"));
  is = numbers();
  for (size_t begin = 0; begin < is.size(); begin += kWidth) {
    const auto head = is.begin() + static_cast<std::ptrdiff_t>(begin);
    std::reverse(head, head + kWidth);
  }
  EXPECT_THAT(see(is, numbers()), ElementsAre("each token has the same values in another order within each head"));
}

TEST(Patterns, NeighboursRow) {
  std::vector<float> is = numbers();
  std::rotate(is.begin(), is.begin() + kHeads * kWidth, is.end());
  EXPECT_THAT(see(is, numbers()), Contains("each token has the values of the token after it"));
}

TEST(Patterns, OnlySomeTokens) {
  std::vector<float> is = numbers();
  for (size_t i = 4 * kHeads * kWidth; i < is.size(); i += 3) is[i] += 1;
  EXPECT_THAT(see(is, numbers()), Contains("only token 4 to 5 of 6 are wrong: the tail of the batch"));
  is = numbers();
  is[0] += 1;
  EXPECT_THAT(see(is, numbers()), Contains("only token 0 of 6 is wrong"));
}

// The first token of a sequence is behind RoPE what it was before.
TEST(Patterns, TokensThatTellNothingAreNoPattern) {
  const auto wrong_from = [](size_t from, size_t n_untold) {
    std::vector<float> is = numbers();
    for (size_t i = from * kHeads * kWidth; i < is.size(); i += 3) is[i] += 1;
    return patterns({kTokens, kHeads * kWidth}, is, numbers(), kNoise, kHeads, n_untold);
  };
  EXPECT_THAT(wrong_from(1, 0), Contains("only token 1 to 5 of 6 are wrong: the tail of the batch"));
  EXPECT_THAT(wrong_from(1, 1), Not(Contains(HasSubstr("token"))));
  EXPECT_THAT(wrong_from(2, 1), Contains("only token 2 to 5 of 6 are wrong: the tail of the batch"));
}

TEST(Patterns, OnlySomeHeads) {
  std::vector<float> is = numbers();
  for (size_t t = 0; t < kTokens; ++t) is[t * kHeads * kWidth + 2 * kWidth + t] += 1;
  EXPECT_THAT(see(is, numbers()), Contains("only head 2 of 4 is wrong"));
}

// [heads, tokens, keys]: scores.
TEST(Patterns, HeadsOfScores) {
  std::vector<float> is = numbers();
  for (size_t i = kTokens * kWidth; i < 2 * kTokens * kWidth; ++i) is[i] += static_cast<float>(i % 5) + 1;
  const std::vector<float> should = numbers();
  EXPECT_THAT(patterns({kHeads, kTokens, kWidth}, is, should, kNoise, 1), Contains("only head 1 of 4 is wrong"));
}

TEST(Patterns, GrowsWithPosition) {
  std::vector<float> is = numbers();
  for (size_t i = 0; i < is.size(); ++i) {
    const size_t t = i / (kHeads * kWidth);
    is[i] += (i % 2 == 0 ? 0.01F : -0.01F) * static_cast<float>(t + 1);
  }
  EXPECT_THAT(see(is, numbers()), Contains(HasSubstr("the error grows with the position")));
}

TEST(Patterns, NothingIsSaidOfWhatIsNotFinite) {
  std::vector<float> is = numbers();
  is[3] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(see(is, numbers()), IsEmpty());
}

}  // namespace
}  // namespace tern::compare
