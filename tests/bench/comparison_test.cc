#include "comparison.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "peer_report.h"

namespace tern::bench {
namespace {

using testing::HasSubstr;

// Ours at twice the peer's speed in prefill, 1.6 times in decode, on two cores and with two runs.
Comparison example() {
  Comparison c;
  c.runs = 2;
  c.threads = 2;
  c.more_threads = 4;
  c.ours.name = "tern";
  c.ours.model_bytes = 1000;
  c.ours.prefill_tokens_per_s = {{1, {105, 115}}, {2, {200, 220}}, {4, {150, 180}}};
  c.ours.decode_tokens_per_s = {{1, {16, 16}}, {2, {32, 32}}, {4, {30, 30}}};
  c.ours.deep_decode_tokens_per_s = {20, 30};
  c.ours.first_token_s = {1, 1};
  c.ours.peak_rss_bytes = {1040, 1050};
  EngineFigures peer;
  peer.name = "bitnet.cpp";
  peer.prefill_tokens_per_s = {{2, {100, 110}}};
  peer.decode_tokens_per_s = {{2, {20, 20}}};
  peer.deep_decode_tokens_per_s = {25, 20};
  peer.first_token_s = {0.8, 0.9};
  c.peers = {peer};
  return c;
}

Goal goal(const Comparison& c, const std::string& id) {
  for (const Goal& each : judge(c)) {
    if (each.id == id) return each;
  }
  ADD_FAILURE() << "no goal " << id;
  return {};
}

TEST(Ratio, IsTakenRunByRun) {
  const auto value = ratio({10, 40, 90}, {10, 20, 30});
  ASSERT_TRUE(value);
  EXPECT_DOUBLE_EQ(value->median, 2);
  EXPECT_DOUBLE_EQ(value->low, 1);
  EXPECT_DOUBLE_EQ(value->high, 3);
}

TEST(Ratio, OfWhatWasNotMeasuredIsNone) {
  EXPECT_FALSE(ratio({}, {}));
  EXPECT_FALSE(ratio({1, 2}, {1}));
  EXPECT_FALSE(ratio({1}, {0}));
}

TEST(Goals, AgainstTheFirstPeer) {
  const Comparison c = example();
  const Goal prefill = goal(c, "prefill");
  ASSERT_TRUE(prefill.value);
  EXPECT_DOUBLE_EQ(prefill.value->median, 2);
  EXPECT_EQ(prefill.reached(), true);
  EXPECT_EQ(prefill.stretch_reached(), false);
  const Goal decode = goal(c, "decode");
  EXPECT_DOUBLE_EQ(decode.value->median, 1.6);
  EXPECT_EQ(decode.reached(), true);
  // 20 / 25 and 30 / 20
  const Goal deep = goal(c, "deep_decode");
  EXPECT_DOUBLE_EQ(deep.value->median, 1.15);
  EXPECT_DOUBLE_EQ(deep.value->low, 0.8);
  EXPECT_EQ(deep.reached(), true);
  EXPECT_EQ(goal(c, "first_token").reached(), false);
}

TEST(Goals, OfOursAlone) {
  const Comparison c = example();
  EXPECT_DOUBLE_EQ(goal(c, "context").value->median, 0.78125);
  EXPECT_EQ(goal(c, "context").reached(), true);
  EXPECT_DOUBLE_EQ(goal(c, "memory").value->median, 1.045);
  EXPECT_EQ(goal(c, "memory").reached(), true);
  EXPECT_EQ(goal(c, "more_threads_prefill").reached(), false);  // 0.75 and 0.82: 0.784
  EXPECT_EQ(goal(c, "more_threads_decode").reached(), true);
  EXPECT_EQ(goal(c, "scaling").reached(), true);  // 1.90 and 1.91
}

TEST(Goals, ExactlyTheTargetIsReached) {
  Goal at_least{"", "", Spread{1.6, 1, 2}, true, 1.6, std::nullopt};
  EXPECT_EQ(at_least.reached(), true);
  Goal at_most{"", "", Spread{1.05, 1, 2}, false, 1.05, 0.9};
  EXPECT_EQ(at_most.reached(), true);
  EXPECT_EQ(at_most.stretch_reached(), false);
}

TEST(Goals, WhatWasNotMeasuredIsNeitherReachedNorMissed) {
  const Comparison c = example();
  for (const char* id : {"tracing", "sweep"}) {
    EXPECT_FALSE(goal(c, id).value) << id;
    EXPECT_EQ(goal(c, id).reached(), std::nullopt) << id;
  }
  Comparison one_core = example();
  one_core.threads = 1;
  EXPECT_EQ(goal(one_core, "scaling").reached(), std::nullopt);
  one_core.more_threads = 0;
  EXPECT_EQ(goal(one_core, "more_threads_prefill").reached(), std::nullopt);
}

TEST(Goals, TracingIsAShareOfTheTracedTime) {
  Comparison c = example();
  c.traced_s = {10, 10};
  c.untraced_s = {9.5, 9.3};
  EXPECT_NEAR(goal(c, "tracing").value->median, 0.06, 1e-12);
  EXPECT_EQ(goal(c, "tracing").reached(), true);
  c.untraced_s = {8, 8};
  EXPECT_EQ(goal(c, "tracing").reached(), false);
}

TEST(Goals, OtherPeersHaveToBeBeatenInBoth) {
  Comparison c = example();
  c.peers.push_back(c.peers[0]);
  c.peers[1].name = "ik";
  c.peers[1].decode_tokens_per_s[2] = {40, 40};
  EXPECT_EQ(goal(c, "prefill_ik").reached(), true);
  EXPECT_EQ(goal(c, "decode_ik").reached(), false);
}

TEST(Goals, TheLargestProductIsOne) {
  Comparison c = example();
  for (const ProductSize& size : published_sizes()) {
    c.products.push_back({size, {size.published_ms / 2}, {size.published_ms}});
  }
  EXPECT_DOUBLE_EQ(goal(c, "product").value->median, 0.5);
  EXPECT_EQ(goal(c, "product").reached(), true);
  EXPECT_EQ(goal(c, "product").stretch_reached(), false);
  c.products.back().peer_ms.clear();
  EXPECT_THAT(markdown(c),
              HasSubstr("| [2048, 2048] x [2048, 2048] | 46.6 (46.6..46.6) | 93.3 (93.3..93.3) | 0.500 x"));
}

TEST(PublishedSizes, AreTheEightOfTheTable) {
  ASSERT_EQ(published_sizes().size(), 8U);
  EXPECT_EQ(published_sizes()[5].text(), "[2048, 2048] x [2048, 2048]");
  EXPECT_EQ(published_sizes()[6].text(), "[128, 2048] x [2048, 8192]");
}

TEST(Markdown, SaysWhatIsReachedAndWhatNot) {
  const std::string text = markdown(example());
  EXPECT_THAT(
      text,
      HasSubstr(
          "| Prefill of 128 tokens, speed against bitnet.cpp's | ≥ 1.6 (stretch 2.2) | 2.00 (2.00..2.00) | reached |"));
  EXPECT_THAT(text, HasSubstr("| ≤ 1 | 1.18 (1.11..1.25) | not reached |"));
  EXPECT_THAT(text, HasSubstr("| ≤ 0.1 | – | not measured |"));
  EXPECT_THAT(text, HasSubstr("| bitnet.cpp | 2 | 105 (100..110) | 2.00 x (2.00..2.00) |"));
}

TEST(Markdown, NamesCannotBreakTheTable) {
  Comparison c = example();
  c.peers[0].name = "a|b\n`c`";
  EXPECT_THAT(markdown(c), HasSubstr("| a\\|b\\\\x0a\\`c\\` | 2 |"));
}

TEST(Markdown, WorksWithNoPeerAtAll) {
  Comparison c = example();
  c.peers.clear();
  EXPECT_THAT(markdown(c), HasSubstr("| tern | 2 | 210 (200..220) |"));
}

TEST(ComparisonJson, HoldsSamplesAndGoals) {
  const Json json = to_json(example());
  EXPECT_EQ(json["ours"]["prefill_tokens_per_s"]["2"], (Json{200.0, 220.0}));
  EXPECT_EQ(json["peers"][0]["name"], "bitnet.cpp");
  EXPECT_EQ(json["goals"][0]["id"], "prefill");
  EXPECT_EQ(json["goals"][0]["reached"], true);
  EXPECT_TRUE(json["sweep_s"].empty());
  for (const Json& each : json["goals"]) {
    if (each["id"] == "sweep") {
      EXPECT_TRUE(each["reached"].is_null());
      EXPECT_TRUE(each["value"].is_null());
    }
  }
}

}  // namespace
}  // namespace tern::bench
