#include "tern/sweep/tolerances.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tern::sweep {
namespace {

using testing::HasSubstr;

trace::TensorId id_of(const char* name) { return *trace::TensorId::parse(name); }

TEST(ToleranceFile, TheLastPatternThatMatchesCounts) {
  const auto parsed = parse_tolerances(R"(
min_logits_cosine = 0.5
[[tolerance]]
stage = "attn_*"
max_relative_error = 0.25
[[tolerance]]
stage = "blk1/*"
max_relative_error = 0.5
max_rms_ratio_deviation = 0
)",
                                       "t.toml");
  ASSERT_TRUE(parsed) << parsed.error().line();
  EXPECT_EQ(parsed->logits_cosine.green, 0.5);
  EXPECT_EQ(parsed->max_log_sum_exp_difference, compare::Tolerances().max_log_sum_exp_difference);
  EXPECT_EQ(parsed->relative_error(id_of("t3/blk0/attn_out")), 0.25);
  EXPECT_EQ(parsed->relative_error(id_of("blk1/attn_out")), 0.5);
  EXPECT_EQ(parsed->rms_ratio_deviation(id_of("blk1/attn_out")), 0);
  EXPECT_EQ(parsed->relative_error(id_of("blk10/q_proj")), compare::Tolerances().max_relative_error);
  EXPECT_EQ(parsed->rms_ratio_deviation(id_of("blk0/attn_out")), compare::Tolerances().max_rms_ratio_deviation);
}

TEST(ToleranceFile, MeasuredNoiseComesBeforeTheDefaultsAndBehindTheUser) {
  auto parsed = parse_tolerances("[[tolerance]]\nstage = \"q_proj\"\nmax_relative_error = 0.25\n", "t.toml");
  ASSERT_TRUE(parsed) << parsed.error().line();
  parsed->measured = [](const trace::TensorId& id) {
    return id.stage == trace::Stage::kLogits ? std::nullopt : std::optional(0.125);
  };
  EXPECT_EQ(parsed->relative_error(id_of("blk0/q_proj")), 0.25);
  EXPECT_EQ(parsed->rms_ratio_deviation(id_of("blk0/q_proj")), 0.125);
  EXPECT_EQ(parsed->relative_error(id_of("blk0/k_proj")), 0.125);
  EXPECT_EQ(parsed->relative_error(id_of("logits")), compare::Tolerances().max_relative_error);
}

TEST(ToleranceFile, WhatIsWrongWithItIsSaidWithItsPlace) {
  struct Bad {
    const char *toml, *where, *what;
  };
  for (const Bad& bad : {
           Bad{"[[tolerance]]\nstage = \"x\"\n", "t.toml line 1: tolerance", "has no bound"},
           Bad{"[[tolerance]]\nmax_relative_error = 1\n", "t.toml line 1: stage", "must be the pattern"},
           Bad{"[[tolerance]]\nstage = \"x\"\nmax_relative_error = -1\n", "line 3: max_relative_error", "is no number"},
           Bad{"[[tolerance]]\nstage = \"x\"\nmax_relative_error = \"1\"\n", "line 3: max_relative_error", "no number"},
           Bad{"[[tolerance]]\nstage = \"x\"\nmax_relative_error = nan\n", "line 3: max_relative_error", "no number"},
           Bad{"min_logits_cosine = 2\n", "line 1: min_logits_cosine", "is no number from -1 to 1"},
           Bad{"min_cosine = 1\n", "line 1: min_cosine", "is no key of a tolerance file"},
           Bad{"tolerance = 3\n", "line 1: tolerance", "is no [[tolerance]] table"},
           Bad{"[[tolerance]\n", "line 1", "is not valid TOML"},
       }) {
    const auto parsed = parse_tolerances(bad.toml, "t.toml");
    ASSERT_FALSE(parsed) << bad.toml;
    EXPECT_EQ(exit_code(parsed.error().code), 3);
    EXPECT_THAT(parsed.error().line(), HasSubstr(bad.where));
    EXPECT_THAT(parsed.error().line(), HasSubstr(bad.what));
  }
}

}  // namespace
}  // namespace tern::sweep
