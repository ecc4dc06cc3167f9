// What attention scores got wrong is measured: scale, cap, mask, heads, cache; and, where RMS is all there is, RoPE.
#include <gtest/gtest.h>

#include "estimate/altered_run.h"

namespace tern::estimate {
namespace {

using test::AlteredRun;
using test::kHeads;
using test::kWidth;
using test::simplest;
using test::that_hold;

constexpr size_t kPromptLength = 12;

struct WrongScores {
  double scale = 0.125, cap = 0;
  std::function<bool(size_t position, size_t key)> sees = [](size_t position, size_t key) { return key <= position; };
  std::function<size_t(size_t head)> query_head = [](size_t head) { return head; };
  std::function<size_t(size_t head)> key_head = [](size_t head) { return head / 2; };
  std::function<size_t(size_t position, size_t key)> slot = [](size_t, size_t key) { return key; };
};

// Written apart from what is tested. `first`: where q's first token stands.
Matrix softmax(const Matrix& q, const Matrix& k, size_t first, const WrongScores& wrong) {
  Matrix p(kHeads * q.n_tokens, k.n_tokens);
  for (size_t h = 0; h < kHeads; ++h) {
    for (size_t t = 0; t < q.n_tokens; ++t) {
      double sum = 0;
      const auto row = p.row(h * q.n_tokens + t);
      for (size_t key = 0; key < k.n_tokens; ++key) {
        double score = 0;
        const size_t slot = wrong.slot(first + t, key);
        for (size_t i = 0; i < kWidth; ++i) {
          score += q.row(t)[wrong.query_head(h) * kWidth + i] * k.row(slot)[wrong.key_head(h) * kWidth + i];
        }
        score *= wrong.scale;
        score = wrong.cap == 0 ? score : wrong.cap * std::tanh(score / wrong.cap);
        row[key] = wrong.sees(first + t, key) ? std::exp(score) : 0;
        sum += row[key];
      }
      for (double& value : row) {
        value /= sum;
      }
    }
  }
  return p;
}

class EstimateScores : public testing::Test {
 protected:
  Matrix cache(const std::string& stage, int n_steps) const {
    Matrix all = run_.values("blk2/" + stage);
    for (int step = 1; step <= n_steps; ++step) {
      const Matrix one = run_.values("t" + std::to_string(step) + "/blk2/" + stage);
      all.values.insert(all.values.end(), one.values.begin(), one.values.end());
      all.n_tokens += 1;
    }
    return all;
  }
  Matrix of_prompt(const WrongScores& wrong) const {
    return softmax(run_.values("blk2/q_rope"), run_.values("blk2/k_rope"), 0, wrong);
  }
  Proposal prompt(const WrongScores& wrong) {
    return simplest(run_.facts("blk2/attn_scores_softmax", of_prompt(wrong)), estimate_scores);
  }
  Proposal decode_step(const WrongScores& wrong) {
    const Matrix p = softmax(run_.values("t2/blk2/q_rope"), cache("k_rope", 2), kPromptLength + 1, wrong);
    return simplest(run_.facts("t2/blk2/attn_scores_softmax", p), estimate_scores);
  }
  AlteredRun run_;
};

TEST_F(EstimateScores, ScaleOfAnyValue) {
  for (const double scale : {0.37, 1.0, 1.0 / 64, 0.0884, -0.125}) {
    for (const Proposal& found : {prompt({.scale = scale}), decode_step({.scale = scale})}) {
      EXPECT_EQ(found.id, "attention_scale") << found.parameters;
      EXPECT_NEAR(found.parameters.value("scale", 0.0), scale, 1e-3 * std::abs(scale)) << found.parameters;
      EXPECT_DOUBLE_EQ(found.parameters.value("expected", 0.0), 0.125);
      EXPECT_NEAR(found.amplifies, std::max(std::abs(scale) / 0.125, 1.0), 1e-2);
    }
  }
}

// An engine may keep keys in float16.
TEST_F(EstimateScores, ScaleBehindCoarseKeys) {
  Matrix k = run_.values("blk2/k_rope");
  for (double& value : k.values) {
    value = oracle::round_to_significant_bits(value, 11);
  }
  const Matrix p = softmax(run_.values("blk2/q_rope"), k, 0, {.scale = 0.37});
  const auto proposals = estimate_scores(run_.facts("blk2/attn_scores_softmax", p));
  ASSERT_FALSE(proposals.empty());
  EXPECT_EQ(proposals.front().id, "attention_scale");
  EXPECT_NEAR(proposals.front().parameters.value("scale", 0.0), 0.37, 1e-3);
}

TEST_F(EstimateScores, SoftCap) {
  const Proposal found = prompt({.cap = 1.7});
  EXPECT_EQ(found.id, "attention_soft_cap") << found.parameters;
  EXPECT_NEAR(found.parameters.value("cap", 0.0), 1.7, 1e-3);
}

TEST_F(EstimateScores, Masks) {
  Proposal found = prompt({.sees = [](size_t position, size_t key) { return key <= position + 3; }});
  EXPECT_EQ(found.id, "causal_mask");
  EXPECT_EQ(found.parameters["offset"], 3) << found.parameters;
  found = prompt({.sees = [](size_t position, size_t key) { return key <= position && key + 5 > position; }});
  EXPECT_EQ(found.id, "causal_mask");
  EXPECT_EQ(found.parameters["window"], 5) << found.parameters;
  found = prompt({.sees = [](size_t, size_t) { return true; }});
  EXPECT_EQ(found.id, "causal_mask");
  EXPECT_EQ(found.parameters["mask"], "none") << found.parameters;
  found = decode_step({.sees = [](size_t position, size_t key) { return key < position; }});
  EXPECT_EQ(found.parameters.value("offset", 0) == -1 || found.id == "kv_cache", true) << found.parameters;
}

TEST_F(EstimateScores, Heads) {
  Proposal found = prompt({.key_head = [](size_t head) { return head % 2; }});
  EXPECT_EQ(found.id, "gqa_head_map");
  EXPECT_EQ(found.parameters["map"], Json({0, 1, 0, 1}));
  found = decode_step({.key_head = [](size_t head) { return head == 2 ? 0 : head / 2; }});
  EXPECT_EQ(found.id, "gqa_head_map");
  EXPECT_EQ(found.parameters["map"], Json({0, 0, 0, 1}));
  const auto other = [](size_t head) { return (head + 3) % 4; };
  found = prompt({.query_head = other, .key_head = [other](size_t head) { return other(head) / 2; }});
  EXPECT_EQ(found.id, "head_order");
  EXPECT_EQ(found.parameters["order"], Json({3, 0, 1, 2}));
}

// The values' heads are then others, too; the same proposal says what is mixed.
TEST_F(EstimateScores, HeadsOfKeysAndValues) {
  const auto proposals =
      that_hold(run_.facts("blk2/attn_scores_softmax", of_prompt({.key_head = [](size_t head) { return head % 2; }})),
                estimate_scores);
  const Proposal* const both = test::find(proposals, "gqa_head_map", "of");
  ASSERT_NE(both, nullptr) << test::listed(proposals);
  const Matrix p = run_.values("blk2/attn_scores_softmax"), v = run_.values("blk2/v_proj");
  Matrix out(kPromptLength, kHeads * kWidth);
  for (size_t t = 0; t < kPromptLength; ++t) {
    for (size_t f = 0; f < out.n_features; ++f) {
      for (size_t key = 0; key < kPromptLength; ++key) {
        out.row(t)[f] += p.row(f / kWidth * kPromptLength + t)[key] * v.row(key)[f / kWidth % 2 * kWidth + f % kWidth];
      }
    }
  }
  const auto mixed = both->recompute(run_.facts("blk2/attn_out", out));
  ASSERT_TRUE(mixed.has_value());
  EXPECT_LT(test::distance(*mixed, out), 1e-6);
}

TEST_F(EstimateScores, Cache) {
  Proposal found = decode_step({.slot = [](size_t position, size_t key) { return key == position ? key - 1 : key; }});
  EXPECT_EQ(found.id, "kv_cache");
  EXPECT_EQ(found.parameters.value("passes", ""), "decode") << found.parameters;
  found = decode_step({.slot = [](size_t, size_t key) { return key == 6 ? size_t{2} : key; }});
  EXPECT_EQ(found.id, "kv_cache");
  EXPECT_EQ(found.parameters["keys"], Json({6})) << found.parameters;
  EXPECT_EQ(found.parameters["taken_from"], Json({2}));
}

// Of many tokens, some are enough to measure by; what is measured must hold for all.
TEST(EstimateScoresOfManyTokens, ScaleWindowAndCap) {
  std::vector<int32_t> prompt(70);
  for (size_t i = 0; i < prompt.size(); ++i) {
    prompt[i] = static_cast<int32_t>(37 * i % 2000);
  }
  AlteredRun run(prompt, {});
  const auto found = [&](const WrongScores& wrong) {
    const Matrix p = softmax(run.values("blk1/q_rope"), run.values("blk1/k_rope"), 0, wrong);
    return simplest(run.facts("blk1/attn_scores_softmax", p), estimate_scores);
  };
  EXPECT_NEAR(found({.scale = 0.37}).parameters.value("scale", 0.0), 0.37, 1e-3);
  EXPECT_NEAR(found({.cap = 1.7}).parameters.value("cap", 0.0), 1.7, 1e-3);
  const Proposal window =
      found({.sees = [](size_t position, size_t key) { return key <= position && key + 50 > position; }});
  EXPECT_EQ(window.parameters.value("window", 0), 50) << window.parameters;
  const Proposal shifted = found({.sees = [](size_t position, size_t key) { return key <= position + 1; }});
  EXPECT_EQ(shifted.parameters.value("offset", 0), 1) << shifted.parameters;
}

TEST_F(EstimateScores, ScaleFromRms) {
  const auto hold =
      that_hold(run_.facts("blk2/attn_scores_softmax", of_prompt({.scale = 0.37}), false), estimate_scores);
  const Proposal* const found = test::find(hold, "attention_scale");
  ASSERT_NE(found, nullptr) << test::listed(hold);
  EXPECT_NEAR(found->parameters.value("scale", 0.0), 0.37, 1e-3) << test::listed(hold);
}

TEST_F(EstimateScores, DiscreteFaultsFromRms) {
  const auto by_rms = [&](const WrongScores& wrong) {
    return that_hold(run_.facts("blk2/attn_scores_softmax", of_prompt(wrong), false), estimate_scores);
  };
  auto hold = by_rms({.key_head = [](size_t head) { return head % 2; }});
  EXPECT_NE(test::find(hold, "gqa_head_map"), nullptr) << test::listed(hold);
  hold = by_rms({.sees = [](size_t position, size_t key) { return key <= position + 1; }});
  EXPECT_NE(test::find(hold, "causal_mask", "offset"), nullptr) << test::listed(hold);
}

// Of each head the first `width` features, in halves.
Matrix turned(Matrix x, double base, size_t width = kWidth) {
  for (size_t t = 0; t < x.n_tokens; ++t) {
    for (size_t head = 0; head < x.n_features; head += kWidth) {
      for (size_t i = 0; i < width / 2; ++i) {
        const double exponent = -2 * static_cast<double>(i) / static_cast<double>(width);
        const double angle = static_cast<double>(t) * std::pow(base, exponent);
        const double a = x.row(t)[head + i], b = x.row(t)[head + i + width / 2];
        x.row(t)[head + i] = a * std::cos(angle) - b * std::sin(angle);
        x.row(t)[head + i + width / 2] = a * std::sin(angle) + b * std::cos(angle);
      }
    }
  }
  return x;
}

// A rotation leaves the RMS of queries and keys as it is; the scores' RMS is the first that it changes.
TEST_F(EstimateScores, RopeBaseFromRms) {
  const Matrix p = softmax(turned(run_.values("blk2/q_proj"), 1.3e6), turned(run_.values("blk2/k_proj"), 1.3e6), 0, {});
  const auto hold = that_hold(run_.facts("blk2/attn_scores_softmax", p, false), estimate_scores);
  bool is_found = false;
  for (const Proposal& proposal : hold) {
    is_found =
        is_found || (proposal.id == "rope_base" && std::abs(proposal.parameters.value("rope_base", 0.0) - 1.3e6) < 2e4);
  }
  EXPECT_TRUE(is_found) << test::listed(hold);
}

TEST_F(EstimateScores, RopeWidthFromRms) {
  for (const size_t width : {size_t{6}, size_t{44}}) {
    const Matrix p =
        softmax(turned(run_.values("blk2/q_proj"), 1e4, width), turned(run_.values("blk2/k_proj"), 1e4, width), 0, {});
    const auto hold = that_hold(run_.facts("blk2/attn_scores_softmax", p, false), estimate_scores);
    const auto n_found = std::count_if(hold.begin(), hold.end(), [&](const Proposal& proposal) {
      return proposal.id == "rope_partial" && proposal.parameters["features"] == width &&
             !proposal.parameters.contains("exponent_width");
    });
    EXPECT_GT(n_found, 0) << width << "\n" << test::listed(hold);
  }
}

TEST_F(EstimateScores, NothingIsWrongWithRightOnes) {
  test::expect_nothing_proposed(trace::StageKind::kScores, estimate_scores);
}

}  // namespace
}  // namespace tern::estimate
