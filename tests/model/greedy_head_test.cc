// The property that GreedyHead guarantees: the id of the full head, on every input, ties included.
#include "tern/model/greedy_head.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <limits>
#include <random>

#include "tern/kernels/dispatch.h"
#include "tern/quant/half.h"

namespace tern::model {
namespace {

using kernels::DotOrder;
using kernels::KernelTable;

struct Head {
  size_t n_vocab;
  size_t n_embd;
  std::vector<uint16_t> halves;

  Head(size_t rows, size_t cols) : n_vocab(rows), n_embd(cols), halves(rows * cols) {}
  Matrix matrix() const {
    return {.format = &quant::kF16,
            .n_rows = static_cast<int64_t>(n_vocab),
            .n_cols = static_cast<int64_t>(n_embd),
            .data = std::as_bytes(std::span(halves))};
  }
  void set(size_t row, size_t column, float value) { halves[row * n_embd + column] = quant::float_to_half(value); }
  void copy_row(size_t from, size_t to) {
    std::copy_n(halves.begin() + static_cast<std::ptrdiff_t>(from * n_embd), n_embd,
                halves.begin() + static_cast<std::ptrdiff_t>(to * n_embd));
  }
};

Head random_head(std::mt19937& random, size_t n_vocab, size_t n_embd, float spread = 0.02f) {
  std::normal_distribution<float> normal(0.0f, spread);
  Head head(n_vocab, n_embd);
  for (uint16_t& half : head.halves) half = quant::float_to_half(normal(random));
  return head;
}

std::vector<float> random_activations(std::mt19937& random, size_t n, float spread = 1.0f) {
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> x(n);
  for (float& value : x) value = normal(random);
  return x;
}

// A table that counts the float16 rows that are multiplied. One at a time.
class RowCounter {
 public:
  explicit RowCounter(const KernelTable& table) : table_(table) {
    counted_ = table.dot_f16;
    table_.dot_f16 = [](DotOrder order, const kernels::DotProducts<uint16_t>& products) {
      n_rows_ += products.n_a;
      counted_(order, products);
    };
  }
  const KernelTable& table() const { return table_; }
  static size_t n_rows() { return n_rows_; }

 private:
  KernelTable table_;
  static inline decltype(KernelTable::dot_f16) counted_ = nullptr;
  static inline std::atomic<size_t> n_rows_ = 0;
};

class GreedyHeadTest : public testing::TestWithParam<const KernelTable*> {
 protected:
  int32_t full(const Head& head, const std::vector<float>& x, DotOrder order) const {
    std::vector<float> h = x;
    if (order == DotOrder::kFour) {
      table().round_to_half(x.data(), x.size(), h.data());
    }
    std::vector<float> logits(head.n_vocab);
    table().dot_f16(order, {head.halves.data(), head.n_embd, head.n_vocab, h.data(), head.n_embd, 1, head.n_embd,
                            logits.data(), head.n_vocab});
    return argmax(logits);
  }

  std::unique_ptr<GreedyHead> copy(const Matrix& matrix) {
    auto result = GreedyHead::copy(matrix, table(), pool_, [](std::span<const std::byte>) {});
    EXPECT_TRUE(result);
    return result ? std::move(*result) : nullptr;
  }

  void expect_equal(const Head& head, const std::vector<std::vector<float>>& inputs) {
    const Matrix matrix = head.matrix();
    const auto greedy = copy(matrix);
    ASSERT_NE(greedy, nullptr);
    for (const std::vector<float>& x : inputs) {
      for (const DotOrder order : {DotOrder::kOne, DotOrder::kFour}) {
        const auto best = greedy->best(x.data(), order);
        ASSERT_TRUE(best);
        EXPECT_EQ(*best, full(head, x, order));
      }
    }
  }

  const KernelTable& table() const { return *GetParam(); }

  std::mt19937 random_{7};
  ThreadPool pool_{2};
};

TEST_P(GreedyHeadTest, RandomHeads) {
  for (const auto& [n_vocab, n_embd] : {std::pair(1U, 32U), {2U, 32U}, {40U, 64U}, {257U, 96U}, {5000U, 256U}}) {
    const Head head = random_head(random_, n_vocab, n_embd);
    std::vector<std::vector<float>> inputs;
    for (int i = 0; i < 20; ++i) inputs.push_back(random_activations(random_, n_embd));
    expect_equal(head, inputs);
  }
}

TEST_P(GreedyHeadTest, FewCandidatesWhereRowsAreWide) {
  const Head head = random_head(random_, 4000, 2048);
  std::vector<std::vector<float>> inputs;
  for (int i = 0; i < 4; ++i) inputs.push_back(random_activations(random_, head.n_embd));
  expect_equal(head, inputs);
  RowCounter counter(table());
  const Matrix matrix = head.matrix();
  const auto greedy = GreedyHead::copy(matrix, counter.table(), pool_, [](std::span<const std::byte>) {});
  ASSERT_TRUE(greedy && *greedy);
  for (const std::vector<float>& x : inputs) {
    const size_t before = RowCounter::n_rows();
    ASSERT_TRUE((*greedy)->best(x.data(), DotOrder::kOne));
    EXPECT_GE(RowCounter::n_rows() - before, 1U);
    EXPECT_LT(RowCounter::n_rows() - before, head.n_vocab / 20) << "else it would be of no use";
  }
}

// The lowest id wins, whatever the order in which pieces and candidates are looked at.
TEST_P(GreedyHeadTest, TiesGoToTheLowestId) {
  Head head = random_head(random_, 1500, 128);
  const auto x = random_activations(random_, head.n_embd);
  const auto best = static_cast<size_t>(full(head, x, DotOrder::kFour));
  for (const size_t copy_at : {size_t{1499}, size_t{700}, size_t{255}, size_t{3}}) {
    head.copy_row(best, copy_at);
    expect_equal(head, {x});
  }
  EXPECT_EQ(full(head, x, DotOrder::kFour), 3);
}

// Rows that differ by one unit in the last place of one weight, and all rows equal.
TEST_P(GreedyHeadTest, NearTies) {
  Head head = random_head(random_, 600, 256);
  for (size_t row = 1; row < head.n_vocab; ++row) {
    head.copy_row(0, row);
    head.halves[row * head.n_embd + random_() % head.n_embd] ^= 1;
  }
  std::vector<std::vector<float>> inputs;
  for (int i = 0; i < 20; ++i) inputs.push_back(random_activations(random_, head.n_embd));
  expect_equal(head, inputs);
  for (size_t row = 1; row < head.n_vocab; ++row) head.copy_row(0, row);
  expect_equal(head, inputs);
}

// Where exact arithmetic would choose another row than float32 sums do: large terms that cancel.
TEST_P(GreedyHeadTest, RoundingOfTheFullHeadDecides) {
  int n_disagreements = 0;
  for (int repetition = 0; repetition < 50; ++repetition) {
    Head head = random_head(random_, 64, 64);
    const std::vector<float> x(head.n_embd, 1.0f);
    for (size_t row = 0; row < head.n_vocab; ++row) {
      for (size_t i = 0; i + 2 < head.n_embd; i += 2) {
        const float large = static_cast<float>(20000 + random_() % 20000);
        head.set(row, i, large);
        head.set(row, i + 1, -quant::half_to_float(quant::float_to_half(large)));
      }
      head.set(row, head.n_embd - 1, static_cast<float>(random_() % 1000) * 1e-4f);
    }
    expect_equal(head, {x});
    double exact_best = -std::numeric_limits<double>::infinity();
    int32_t exact_id = 0;
    for (size_t row = 0; row < head.n_vocab; ++row) {
      double sum = 0;
      for (size_t i = 0; i < head.n_embd; ++i) {
        sum +=
            static_cast<double>(quant::half_to_float(head.halves[row * head.n_embd + i])) * static_cast<double>(x[i]);
      }
      if (sum > exact_best) {
        exact_best = sum;
        exact_id = static_cast<int32_t>(row);
      }
    }
    n_disagreements += exact_id != full(head, x, DotOrder::kOne) ? 1 : 0;
  }
  EXPECT_GT(n_disagreements, 0);  // or this test would prove nothing
}

TEST_P(GreedyHeadTest, ExtremeSizes) {
  for (const float weights : {6e-8f, 1e-4f, 40000.0f}) {
    for (const float activations : {1e-30f, 1e-6f, 1000.0f, 1e25f}) {
      const Head head = random_head(random_, 300, 64, weights / 4);
      auto outlier = random_activations(random_, head.n_embd, activations);
      outlier[5] *= 1000;
      std::vector<float> sparse(head.n_embd, 0.0f);
      sparse[9] = activations;
      if (activations < 100 && activations > 1e-5f) {  // also in float16
        expect_equal(head, {outlier, sparse});
        continue;
      }
      const Matrix matrix = head.matrix();
      const auto greedy = copy(matrix);
      ASSERT_NE(greedy, nullptr);
      for (const auto& x : {outlier, sparse}) {
        const auto best = greedy->best(x.data(), DotOrder::kOne);
        ASSERT_TRUE(best);
        EXPECT_EQ(*best, full(head, x, DotOrder::kOne));
      }
    }
  }
}

TEST_P(GreedyHeadTest, DeclinesWhatItCannotBound) {
  Head head = random_head(random_, 50, 64);
  const Matrix matrix = head.matrix();
  const auto greedy = copy(matrix);
  ASSERT_NE(greedy, nullptr);
  for (const float bad : {INFINITY, -INFINITY, NAN, 2e30f}) {
    auto x = random_activations(random_, head.n_embd);
    x[11] = bad;
    EXPECT_FALSE(greedy->best(x.data(), DotOrder::kOne)) << bad;
  }
  EXPECT_FALSE(greedy->best(std::vector<float>(head.n_embd, 0.0f).data(), DotOrder::kOne));
  head.halves[777] = 0x7c00;  // infinity
  EXPECT_EQ(copy(matrix), nullptr);
  const Head narrow = random_head(random_, 4, 40);
  EXPECT_EQ(copy(narrow.matrix()), nullptr);
  Matrix floats = matrix;
  floats.format = &quant::kF32;
  EXPECT_EQ(copy(floats), nullptr);
}

INSTANTIATE_TEST_SUITE_P(Tables, GreedyHeadTest, testing::ValuesIn(kernels::runnable_tables()),
                         [](const auto& table) { return std::string(table.param->name); });

}  // namespace
}  // namespace tern::model
