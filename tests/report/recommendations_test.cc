// Advice follows from what happened.
#include "tern/report/view/recommendations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "report/report_fixture.h"

namespace tern::report {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST_F(ReportTest, AdviceFollowsFromWhatHappened) {
  EXPECT_THAT(advice(ok()), HasSubstr("No action needed: 34 tensors are equal bit for bit, and all 2 tokens are."));
  EXPECT_THAT(advice(timed_out()), HasSubstr("CROSSVAL_TIMEOUT_SECS=720 (it is 180 now)"));
  EXPECT_THAT(advice(timed_out()), HasSubstr("blk3/up_proj"));
  EXPECT_THAT(advice(crashed()), HasSubstr("crashed with SIGSEGV"));
  EXPECT_THAT(advice(crashed()), HasSubstr("/out/scenario1/rs-output.txt"));
  EXPECT_THAT(advice(failed("result.json is missing")), HasSubstr("The subject failed: result.json is missing."));
  const std::string alone = advice(without_reference());
  EXPECT_THAT(alone, HasSubstr("BITNET_CPP_DIR"));
  EXPECT_THAT(alone, HasSubstr("pack:DIR"));
  EXPECT_THAT(alone, Not(HasSubstr("No action needed")));
}

TEST_F(ReportTest, AdviceOnAFailedReferenceIsAboutTheReference) {
  ScenarioOutcome scenario = ok();
  scenario.comparison.reset();
  scenario.sides.reference.result.reset();
  scenario.status = ParityStatus::kReferenceFailed;
  scenario.sides.reference.execution.timed_out = true;
  scenario.sides.reference.execution.timeout_s = 1;
  scenario.sides.reference.execution.failure = "timed out after 1 s";
  EXPECT_THAT(advice(scenario), HasSubstr("The reference did not finish within 1 s."));
  EXPECT_THAT(advice(scenario), HasSubstr("CROSSVAL_TIMEOUT_SECS=4 (it is 1 now)"));
  EXPECT_THAT(advice(scenario), Not(HasSubstr("The subject")));
  EXPECT_EQ(receipt(scenario)["parity"]["cpp_available"], true);
}

TEST_F(ReportTest, AdviceNamesTheStageAndTheMatrix) {
  const std::string projection = advice(diverged_at("blk1/q_proj"));
  EXPECT_THAT(projection, HasSubstr("Start at blk1/q_proj (prefill, layer 1)."));
  EXPECT_THAT(projection, HasSubstr("blk.1.attn_q.weight"));
  EXPECT_THAT(advice(diverged_at("blk0/down_proj")), HasSubstr("blk.0.ffn_down.weight"));
  EXPECT_THAT(advice(diverged_at("blk0/ffn_act")), HasSubstr("ReLU squared"));
  EXPECT_THAT(advice(diverged_at("output_norm")), HasSubstr("epsilon"));
  const std::string decode = advice(diverged_at("t1/blk0/q_proj"));
  EXPECT_THAT(decode, HasSubstr("Start at t1/blk0/q_proj (decode step 1, layer 0)."));
  EXPECT_THAT(decode, HasSubstr("KV cache"));
  EXPECT_THAT(projection, Not(HasSubstr("KV cache")));
}

TEST_F(ReportTest, EveryStageHasItsOwnAdvice) {
  std::vector<std::string> all;
  for (const trace::StageRow& row : trace::kStageTable) {
    const trace::TensorId id{
        .layer = row.place == trace::StagePlace::kInLayer ? 2 : -1,
        .stage = trace::Stage(row),
    };
    all.push_back(advice_on(id, true));
    EXPECT_GT(all.back().size(), 40u) << id.name();
  }
  const trace::TensorId node{.layer = 2, .stage = trace::Stage::named("ffn_moe_up", true)};
  EXPECT_THAT(advice_on(node, true), HasSubstr("this node"));
  const trace::TensorId attn_out{.layer = 2, .stage = trace::Stage::kAttnOut};
  EXPECT_THAT(advice_on(attn_out, false), HasSubstr("this node"));
  std::sort(all.begin(), all.end());
  EXPECT_GE(std::unique(all.begin(), all.end()) - all.begin(), 14);
}

TEST_F(ReportTest, AdviceOnMistrustIsNoPass) {
  RunBuilder empty = RunBuilder::example();
  empty.tensors.clear();
  const ScenarioOutcome scenario = compared(empty, RunBuilder::example());
  ASSERT_EQ(scenario.status, ParityStatus::kMistrusted);
  EXPECT_THAT(advice(scenario), HasSubstr("Do not read this as a pass"));
  EXPECT_THAT(advice(scenario), HasSubstr("The subject wrote no trace files"));
  EXPECT_THAT(advice(scenario), HasSubstr("34 of 34 tensors were not compared"));
}

TEST_F(ReportTest, TokenizerDisagreementsAreInEveryAdvice) {
  sweep_.tokenizer.disagreements = {"id 7 is \"a\" in the file and \"b\" in the GGUF"};
  EXPECT_THAT(advice(ok()), HasSubstr("id 7 is \"a\""));
  EXPECT_THAT(advice(crashed()), HasSubstr("id 7 is \"a\""));
}

}  // namespace
}  // namespace tern::report
