// Every instruction set's table against the scalar truth, bit for bit, on random shapes with tails and hostile values.
#include <gtest/gtest.h>

#include <cstdlib>

#include "kernels/random_values.h"
#include "tern/kernels/dispatch.h"
#include "tern/kernels/table.h"

namespace tern::kernels {
namespace {

class IsaEquality : public testing::TestWithParam<const KernelTable*> {
 protected:
  const KernelTable& table() const { return *GetParam(); }
  std::mt19937 random_{20260314};
};

constexpr size_t kLengths[] = {0, 1, 7, 8, 9, 15, 16, 31, 32, 33, 40, 63, 64, 65, 127, 128, 129, 172, 256, 1000};

TEST_P(IsaEquality, HalfConversions) {
  std::vector<uint16_t> halves(1 << 16);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  for (const size_t n : {halves.size(), halves.size() - 3}) {
    std::vector<float> wanted(n), got(n);
    scalar().half_to_float(halves.data(), n, wanted.data());
    table().half_to_float(halves.data(), n, got.data());
    EXPECT_EQ(first_difference(got, wanted), -1);
  }
  // Each half's value, its neighbours in float32, the ties between two halves, and random bits.
  std::vector<float> floats;
  for (const uint16_t half : halves) {
    float value = 0;
    scalar().half_to_float(&half, 1, &value);
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    for (const uint32_t near : {bits, bits + 1, bits - 1, bits + 0x1000, bits + 0xfff, bits + 0x1001}) {
      floats.push_back(std::bit_cast<float>(near));
    }
    floats.push_back(std::bit_cast<float>(static_cast<uint32_t>(random_())));
  }
  std::vector<uint16_t> wanted(floats.size()), got(floats.size());
  scalar().float_to_half(floats.data(), floats.size(), wanted.data());
  table().float_to_half(floats.data(), floats.size(), got.data());
  std::vector<float> wanted_back(floats.size()), got_back(floats.size());
  scalar().half_to_float(wanted.data(), wanted.size(), wanted_back.data());
  scalar().half_to_float(got.data(), got.size(), got_back.data());
  EXPECT_EQ(first_difference(got_back, wanted_back), -1);
  table().round_to_half(floats.data(), floats.size(), got_back.data());
  EXPECT_EQ(first_difference(got_back, wanted_back), -1);
}

TEST_P(IsaEquality, RoundActivations) {
  for (const auto rounding : {ActivationRounding::kProductFirst, ActivationRounding::kFused}) {
    for (const size_t n : kLengths) {
      for (int repetition = 0; repetition < 30; ++repetition) {
        const auto x = repetition % 3 == 0 ? hostile_floats(random_, n) : random_floats(random_, n, 3.0f);
        std::vector<int8_t> wanted_q(n), got_q(n);
        const RowRounding wanted = scalar().round_activations(x.data(), n, rounding, wanted_q.data());
        const RowRounding got = table().round_activations(x.data(), n, rounding, got_q.data());
        ASSERT_TRUE(same_bits(got.scale, wanted.scale)) << n;
        ASSERT_EQ(got.sum, wanted.sum) << n;
        ASSERT_EQ(got_q, wanted_q) << n;
      }
    }
  }
}

TEST_P(IsaEquality, TernaryProduct) {
  for (const size_t n_cols : {128U, 256U, 1280U, 1408U, 2560U, 2688U, 5120U}) {
    for (const size_t n_rows : {1U, 3U, 4U, 5U, 9U}) {
      for (const size_t n_tokens : {1U, 2U, 3U, 4U, 5U, 8U, 11U}) {
        std::vector<uint8_t> codes(n_rows * n_cols / 4);
        for (uint8_t& byte : codes) byte = static_cast<uint8_t>(random_());  // code 3 too: a hostile file may hold it
        std::vector<int8_t> q(n_tokens * n_cols);
        std::vector<RowRounding> rounding(n_tokens, {0.37f, 0});
        for (size_t i = 0; i < q.size(); ++i) {
          q[i] = static_cast<int8_t>(random_());
          rounding[i / n_cols].sum += q[i];
        }
        std::vector<float> wanted(n_tokens * (n_rows + 2), -1.0f), got = wanted;
        TernaryProduct product{codes.data(),    0.61f,    n_rows,        n_cols,    q.data(),
                               rounding.data(), n_tokens, wanted.data(), n_rows + 2};
        scalar().ternary_product(product);
        product.out = got.data();
        table().ternary_product(product);
        ASSERT_EQ(first_difference(got, wanted), -1) << n_rows << " x " << n_cols << ", tokens " << n_tokens;
      }
    }
  }
}

template <class A, class Kernel>
void expect_equal_dots(const Kernel& wanted_kernel, const Kernel& got_kernel, const std::vector<A>& a,
                       const std::vector<float>& b, size_t length) {
  for (const auto order : {DotOrder::kFour, DotOrder::kOne}) {
    if (order == DotOrder::kOne && length % 8 != 0) {
      continue;
    }
    for (const size_t n_a : {1U, 2U, 3U, 4U, 7U, 9U}) {
      for (const size_t n_b : {1U, 2U, 3U, 4U, 7U}) {
        std::vector<float> wanted(n_b * (n_a + 1), -1.0f), got = wanted;
        DotProducts<A> products{a.data(), length + 3, n_a, b.data(), length + 1, n_b, length, wanted.data(), n_a + 1};
        wanted_kernel(order, products);
        products.out = got.data();
        got_kernel(order, products);
        ASSERT_EQ(first_difference(got, wanted), -1) << "length " << length << ", " << n_a << " x " << n_b;
      }
    }
  }
}

TEST_P(IsaEquality, DotProducts) {
  for (const size_t length : kLengths) {
    for (const bool hostile : {false, true}) {
      const size_t n = 9 * (length + 3);
      const auto a = hostile ? hostile_floats(random_, n) : random_floats(random_, n);
      const auto b = hostile ? hostile_floats(random_, n) : random_floats(random_, n);
      std::vector<uint16_t> halves(n);
      scalar().float_to_half(a.data(), n, halves.data());
      expect_equal_dots(scalar().dot_f32, table().dot_f32, a, b, length);
      expect_equal_dots(scalar().dot_f16, table().dot_f16, halves, b, length);
    }
  }
}

TEST_P(IsaEquality, RmsNorm) {
  for (const size_t n : kLengths) {
    for (const bool hostile : {false, true}) {
      const auto x = hostile ? hostile_floats(random_, n) : random_floats(random_, n, 100.0f);
      const auto weight = random_floats(random_, n);
      std::vector<float> wanted(n), got = x;
      scalar().rms_norm(x.data(), weight.data(), n, 1e-5f, wanted.data());
      table().rms_norm(got.data(), weight.data(), n, 1e-5f, got.data());  // in place, as forward() calls it
      ASSERT_EQ(first_difference(got, wanted), -1) << n;
    }
  }
}

TEST_P(IsaEquality, Rope) {
  for (const auto pairs : {RopePairs::kHalves, RopePairs::kNeighbours}) {
    for (const size_t n_pairs : {1U, 4U, 7U, 8U, 9U, 20U, 32U, 64U}) {
      const auto cosine = random_floats(random_, n_pairs);
      const auto sine = random_floats(random_, n_pairs);
      auto wanted = random_floats(random_, 2 * n_pairs);
      auto got = wanted;
      scalar().rope(pairs, cosine.data(), sine.data(), n_pairs, wanted.data());
      table().rope(pairs, cosine.data(), sine.data(), n_pairs, got.data());
      ASSERT_EQ(first_difference(got, wanted), -1) << n_pairs;
    }
  }
}

TEST_P(IsaEquality, Softmax) {
  for (const size_t n : kLengths) {
    for (const float spread : {1.0f, 30.0f, 300.0f}) {
      auto wanted = random_floats(random_, n, spread);
      // Masked entries, as behind each token's own position.
      for (size_t i = n / 2; i + 1 < n; i += 3) wanted[i] = -std::numeric_limits<float>::infinity();
      auto got = wanted;
      scalar().softmax(wanted.data(), n, 0.125f);
      table().softmax(got.data(), n, 0.125f);
      ASSERT_EQ(first_difference(got, wanted), -1) << n << ", spread " << spread;
    }
  }
}

TEST_P(IsaEquality, Activations) {
  for (const size_t n : kLengths) {
    for (const bool hostile : {false, true}) {
      const auto gate = hostile ? hostile_floats(random_, n) : random_floats(random_, n, 40.0f);
      const auto up = random_floats(random_, n);
      for (const bool silu : {false, true}) {
        std::vector<float> wanted(n), got = gate;
        (silu ? scalar().silu_times : scalar().relu2_times)(gate.data(), up.data(), n, wanted.data());
        (silu ? table().silu_times : table().relu2_times)(got.data(), up.data(), n, got.data());
        ASSERT_EQ(first_difference(got, wanted), -1) << n;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, IsaEquality, testing::ValuesIn(others()),
                         [](const auto& table) { return std::string(table.param->name); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(IsaEquality);

// Restores TERN_ISA when it ends.
class ForcedIsa {
 public:
  explicit ForcedIsa(const char* name) {
    if (const char* before = std::getenv("TERN_ISA")) {
      before_ = before;
      was_set_ = true;
    }
    setenv("TERN_ISA", name, 1);
  }
  ~ForcedIsa() {
    if (was_set_) {
      setenv("TERN_ISA", before_.c_str(), 1);
    } else {
      unsetenv("TERN_ISA");
    }
  }
  ForcedIsa(const ForcedIsa&) = delete;
  ForcedIsa& operator=(const ForcedIsa&) = delete;

 private:
  std::string before_;
  bool was_set_ = false;
};

TEST(Dispatch, ForcedTableIsTheOneThatRuns) {
  for (const KernelTable* table : runnable_tables()) {
    const ForcedIsa forced(table->name);
    const auto chosen = choose_table();
    ASSERT_TRUE(chosen);
    EXPECT_EQ(*chosen, table);
    // And it is not another table's functions under that name.
    for (const KernelTable* other : runnable_tables()) {
      EXPECT_EQ((*chosen)->ternary_product == other->ternary_product, table == other);
    }
  }
}

TEST(Dispatch, BestTableWithoutForce) {
  const ForcedIsa none("");
  const auto chosen = choose_table();
  ASSERT_TRUE(chosen);
  EXPECT_EQ(*chosen, runnable_tables().back());
}

TEST(Dispatch, UnknownNameIsAnError) {
  const ForcedIsa forced("avx1024\n");
  const auto chosen = choose_table();
  ASSERT_FALSE(chosen);
  EXPECT_EQ(chosen.error().code, ErrorCode::kUsage);
  EXPECT_EQ(chosen.error().line().find('\n'), std::string::npos);
  EXPECT_NE(chosen.error().line().find("scalar"), std::string::npos);
}

}  // namespace
}  // namespace tern::kernels
