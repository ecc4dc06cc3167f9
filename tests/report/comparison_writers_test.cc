// What `tern compare` prints.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "report/report_fixture.h"
#include "tern/report/writers/comparison.h"

namespace tern::report {
namespace {

using testing::HasSubstr;

TEST_F(ReportTest, ComparisonJsonHasTheContractsKeys) {
  const Json j = comparison_json(*diverged_at("blk1/q_proj").comparison);
  EXPECT_EQ(j["verdict"], "diverged");
  EXPECT_EQ(j["coverage"]["tensors_compared"], 34);
  EXPECT_EQ(j["coverage"]["tensors_expected"], 34);
  EXPECT_EQ(j["coverage"]["tokens_compared"], 2);
  EXPECT_EQ(j["hash_equal"], 33);
  EXPECT_EQ(j["first_divergence"]["name"], "blk1/q_proj");
  EXPECT_EQ(j["first_divergence"]["seq"], 0);
  EXPECT_EQ(j["first_divergence"]["layer"], 1);
  EXPECT_EQ(j["first_divergence"]["stage"], "q_proj");
  EXPECT_TRUE(j["cause"].is_null());
  EXPECT_EQ(j["tensors"].size(), 34u);
  EXPECT_TRUE(comparison_json(*ok().comparison)["first_divergence"].is_null());
}

TEST(CauseLine, SaysWhatAndWhereWithTheFiguresAndWhatIsLeft) {
  outcome::Cause cause{"weight_rows", "blk1/q_proj", 0.5, "a long story"};
  EXPECT_EQ(cause_line(cause), "weight_rows at blk1/q_proj (confidence 0.50)");
  EXPECT_EQ(unexplained_by(cause), "");
  cause.parameters = {{"factor", 0.1234567}, {"weight", "blk.1.attn_q.weight"}, {"rows", {1, 2, 3, 4, 5, 6, 7, 8, 9}}};
  cause.side = compare::Side::kReference;
  EXPECT_EQ(cause_line(cause, true),
            "weight_rows at blk1/q_proj of the reference: factor 0.123457, weight blk.1.attn_q.weight, "
            "rows [1, 2, 3, 4, 5, 6, 7, 8, … 9 in all] (confidence 0.50)");
  cause.unexplained = {"blk2/out"};
  EXPECT_EQ(unexplained_by(cause), "blk2/out");
  cause.unexplained.push_back("output_norm");
  EXPECT_EQ(unexplained_by(cause), "2 tensors, the first is blk2/out");
  cause.tried = {{{"id", "melting"}}};

  const compare::Arbitration arbitration;
  const std::string text = arbitration_text(view_of(arbitration, cause));
  EXPECT_THAT(text, HasSubstr("\ncause      weight_rows at blk1/q_proj: factor 0.123457, "));
  EXPECT_THAT(text, HasSubstr("\nevidence   a long story\nleft wrong 2 tensors, the first is blk2/out, "));
  EXPECT_THAT(text, testing::Not(HasSubstr("melting")));
}

TEST_F(ReportTest, ComparisonJsonSaysTokensWherePromptsDiffer) {
  RunBuilder subject = RunBuilder::example();
  subject.prompt_tokens = {1, 6};
  const ScenarioOutcome scenario = compared(subject, RunBuilder::example());
  EXPECT_EQ(comparison_json(*scenario.comparison)["first_divergence"], "tokens");
  EXPECT_THAT(advice(scenario), HasSubstr("tokenizer"));
  EXPECT_THAT(comparison_text(view_of(*scenario.comparison, true)), HasSubstr("the prompt's ids differ"));
}

TEST_F(ReportTest, ComparisonTextShowsTheFirstDivergenceAmongItsNeighbours) {
  const std::string shown = comparison_text(view_of(*diverged_at("blk1/q_proj").comparison, true));
  EXPECT_THAT(shown, HasSubstr("coverage   34 of 34 tensors, 2 of 2 tokens, 3 of 3 rows of logits"));
  EXPECT_THAT(shown, HasSubstr("first divergence: blk1/q_proj (prefill, layer 1)"));
  EXPECT_THAT(shown, HasSubstr("\n> blk1/q_proj "));
  EXPECT_THAT(shown, HasSubstr("33 equal, 1 diverged"));
  EXPECT_LT(shown.find("blk1/attn_norm"), shown.find("\n> blk1/q_proj"));
  EXPECT_LT(shown.find("\n> blk1/q_proj"), shown.find("\n  blk1/k_proj"));
  EXPECT_THAT(shown, HasSubstr("verdict: diverged: blk1/q_proj"));
  EXPECT_THAT(comparison_text(view_of(*ok().comparison, true)), HasSubstr("verdict: match\n"));
}

TEST_F(ReportTest, ComparisonAdviceIsGeneralOnAGraphThatIsNotKnown) {
  const ScenarioOutcome scenario = diverged_at("blk1/q_proj");
  EXPECT_THAT(view_of(*scenario.comparison, true).advice, HasSubstr("blk.1.attn_q.weight"));
  EXPECT_THAT(view_of(*scenario.comparison, false).advice, HasSubstr("how this node is computed"));
}

}  // namespace
}  // namespace tern::report
