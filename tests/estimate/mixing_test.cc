// Which values the heads mixed, and how they were merged, is measured.
#include <gtest/gtest.h>

#include "estimate/altered_run.h"

namespace tern::estimate {
namespace {

using test::AlteredRun;
using test::kHeads;
using test::kWidth;
using test::simplest;

struct WrongMixing {
  std::function<size_t(size_t head)> score_head = [](size_t head) { return head; };
  std::function<size_t(size_t head)> value_head = [](size_t head) { return head / 2; };
  std::function<size_t(size_t key)> slot = [](size_t key) { return key; };
  double factor = 1;
};

// Written apart from what is tested.
Matrix mixed(const Matrix& p, const Matrix& v, const WrongMixing& wrong) {
  const size_t n_tokens = p.n_tokens / kHeads;
  Matrix out(n_tokens, kHeads * kWidth);
  for (size_t t = 0; t < n_tokens; ++t) {
    for (size_t f = 0; f < out.n_features; ++f) {
      const size_t head = f / kWidth;
      for (size_t key = 0; key < v.n_tokens; ++key) {
        out.row(t)[f] += wrong.factor * p.row(wrong.score_head(head) * n_tokens + t)[key] *
                         v.row(wrong.slot(key))[wrong.value_head(head) * kWidth + f % kWidth];
      }
    }
  }
  return out;
}

class EstimateMixing : public testing::Test {
 protected:
  Proposal prompt(const WrongMixing& wrong) {
    const Matrix out = mixed(run_.values("blk1/attn_scores_softmax"), run_.values("blk1/v_proj"), wrong);
    return simplest(run_.facts("blk1/attn_out", out), estimate_mixing);
  }
  Proposal decode_step(const WrongMixing& wrong) {
    Matrix v = run_.values("blk1/v_proj");
    for (const char* name : {"t1/blk1/v_proj", "t2/blk1/v_proj"}) {
      const Matrix one = run_.values(name);
      v.values.insert(v.values.end(), one.values.begin(), one.values.end());
      ++v.n_tokens;
    }
    return simplest(run_.facts("t2/blk1/attn_out", mixed(run_.values("t2/blk1/attn_scores_softmax"), v, wrong)),
                    estimate_mixing);
  }
  AlteredRun run_;
};

TEST_F(EstimateMixing, ValueHeads) {
  Proposal found = prompt({.value_head = [](size_t head) { return head % 2; }});
  EXPECT_EQ(found.id, "gqa_head_map");
  EXPECT_EQ(found.parameters["map"], Json({0, 1, 0, 1}));
  found = decode_step({.value_head = [](size_t head) { return head == 1 ? 1 : head / 2; }});
  EXPECT_EQ(found.id, "gqa_head_map");
  EXPECT_EQ(found.parameters["map"], Json({0, 1, 1, 1}));
}

TEST_F(EstimateMixing, OrderOfHeads) {
  const auto other = [](size_t head) { return (3 * head + 1) % 4; };
  for (const bool decode : {false, true}) {
    const WrongMixing wrong{.score_head = other, .value_head = [other](size_t head) { return other(head) / 2; }};
    const Proposal found = decode ? decode_step(wrong) : prompt(wrong);
    EXPECT_EQ(found.id, "head_order");
    EXPECT_EQ(found.parameters["order"], Json({1, 0, 3, 2}));
  }
}

TEST_F(EstimateMixing, HeadLeftOut) {
  Matrix out = run_.values("blk1/attn_out");
  for (size_t t = 0; t < out.n_tokens; ++t) {
    std::fill_n(out.row(t).begin() + 2 * kWidth, kWidth, 0.0);
  }
  const Proposal found = simplest(run_.facts("blk1/attn_out", out), estimate_mixing);
  EXPECT_EQ(found.id, "head_missing");
  EXPECT_EQ(found.parameters["heads"], Json({2}));
}

TEST_F(EstimateMixing, HeadsNotMerged) {
  const Matrix right = run_.values("blk1/attn_out");
  Matrix out = right;
  for (size_t t = 0; t < right.n_tokens; ++t) {
    for (size_t f = 0; f < right.n_features; ++f) {
      out.values[(f / kWidth * right.n_tokens + t) * kWidth + f % kWidth] = right.row(t)[f];
    }
  }
  EXPECT_EQ(simplest(run_.facts("blk1/attn_out", out), estimate_mixing).id, "head_order");
}

TEST_F(EstimateMixing, Cache) {
  Proposal found = decode_step({.slot = [](size_t key) { return key == 13 ? size_t{12} : key; }});
  EXPECT_EQ(found.id, "kv_cache");
  EXPECT_EQ(found.parameters.value("own", ""), "that of the token before") << found.parameters;
  found = decode_step({.slot = [](size_t key) { return key == 4 ? size_t{9} : key; }});
  EXPECT_EQ(found.id, "kv_cache");
  EXPECT_EQ(found.parameters["keys"], Json({4})) << found.parameters;
  EXPECT_EQ(found.parameters["taken_from"], Json({9})) << found.parameters;
}

TEST_F(EstimateMixing, FactorOfAnyValue) {
  Proposal found = prompt({.factor = 0.37});
  EXPECT_EQ(found.id, "attention_factor");
  EXPECT_NEAR(found.parameters.value("factor", 0.0), 0.37, 1e-6);
  const Matrix out = mixed(run_.values("blk1/attn_scores_softmax"), run_.values("blk1/v_proj"), {.factor = 0.37});
  found = simplest(run_.facts("blk1/attn_out", out, false), estimate_mixing);
  EXPECT_EQ(found.id, "attention_factor");
  EXPECT_NEAR(found.parameters.value("factor", 0.0), 0.37, 1e-5);
}

// An engine that mixes as it computes scores does not record them.
TEST_F(EstimateMixing, ScoresThatNobodyRecorded) {
  const Matrix q = run_.values("blk1/q_rope"), k = run_.values("blk1/k_rope");
  Matrix p = run_.values("blk1/attn_scores_softmax");
  for (size_t r = 0; r < p.n_tokens; ++r) {
    const size_t head = r / q.n_tokens, t = r % q.n_tokens;
    double sum = 0;
    for (size_t key = 0; key <= t; ++key) {
      double score = 0;
      for (size_t i = 0; i < kWidth; ++i) {
        score += q.row(t)[head * kWidth + i] * k.row(key)[head / 2 * kWidth + i];
      }
      p.row(r)[key] = std::exp(0.37 * score);
      sum += p.row(r)[key];
    }
    for (double& value : p.row(r)) {
      value /= sum;
    }
  }
  const auto facts = run_.facts("blk1/attn_out", mixed(p, run_.values("blk1/v_proj"), {}));
  const Proposal found = simplest(facts, estimate_mixing);
  EXPECT_EQ(found.id, "attention_scale");
  EXPECT_NEAR(found.parameters.value("scale", 0.0), 0.37, 1e-3);
  EXPECT_EQ(found.place, trace::Stage::kAttnScoresSoftmax);
}

TEST_F(EstimateMixing, OrdersThatRmsDoesNotShow) {
  const WrongMixing wrong{.score_head = [](size_t head) { return (head + 1) % 4; },
                          .value_head = [](size_t head) { return (head + 1) % 4 / 2; }};
  const Matrix out = mixed(run_.values("blk1/attn_scores_softmax"), run_.values("blk1/v_proj"), wrong);
  const auto facts = run_.facts("blk1/attn_out", out, false);
  bool is_found = false;
  for (const Proposal& proposal : estimate_mixing(facts)) {
    EXPECT_EQ(proposal.id, "head_order");
    is_found = is_found || proposal.parameters.value("order", Json()) == Json({1, 2, 3, 0});
  }
  EXPECT_TRUE(is_found);
}

TEST_F(EstimateMixing, NothingIsWrongWithARightOne) {
  int n_seen = 0;
  for (const char* name : {"blk3/attn_out", "t2/blk3/attn_out"}) {
    EXPECT_EQ(test::listed(estimate_mixing(run_.facts(name, run_.values(name)))), "");
    // Its RMS says nothing about the order of the heads, and is right.
    for (const Proposal& proposal : estimate_mixing(run_.facts(name, run_.values(name), false))) {
      EXPECT_EQ(proposal.id, "head_order");
      ++n_seen;
    }
  }
  EXPECT_GT(n_seen, 0);
}

}  // namespace
}  // namespace tern::estimate
