// Every verdict, reached with small hand-made runs: what differs is named, and what proves nothing is not a pass.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "compare/run_builder.h"
#include "tern/compare/compare_runs.h"

namespace tern::compare {
namespace {

using test::RunBuilder;
using testing::HasSubstr;

constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();

class VerdictTest : public testing::Test {
 protected:
  RunComparison compare(const RunBuilder& subject, const RunBuilder& reference,
                        Exactness exactness = Exactness::kAuto) const {
    return compare_runs(subject.build(folder_), reference.build(folder_), {exactness, {}});
  }
  static const TensorComparison& tensor(const RunComparison& c, const std::string& name) {
    const auto it =
        std::find_if(c.tensors.begin(), c.tensors.end(), [&](const auto& t) { return t.id.name() == name; });
    EXPECT_NE(it, c.tensors.end()) << name;
    return *it;
  }
  static std::string first_divergence(const RunComparison& c) {
    return c.first_divergence ? c.first_divergence->name() : "none";
  }

  test::TemporaryFolder folder_;
  RunBuilder a_ = RunBuilder::example();
  RunBuilder b_ = RunBuilder::example();
};

TEST_F(VerdictTest, EqualRunsMatchWithFullCoverage) {
  const RunComparison c = compare(a_, b_);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kMatch) << c.verdict.reason;
  EXPECT_TRUE(c.exact);
  EXPECT_EQ(c.coverage.tensors_expected, 34u);
  EXPECT_EQ(c.coverage.tensors_compared, 34u);
  EXPECT_EQ(c.n_hash_equal, 34u);
  EXPECT_EQ(c.coverage.tokens_compared, 2u);
  EXPECT_EQ(c.coverage.positions_compared, 3u);
  EXPECT_EQ(c.coverage.positions_expected, 3u);
  EXPECT_EQ(c.tokens.exact_match_rate, 1.0);
  EXPECT_EQ(c.logits->min_cosine, 1.0);
  EXPECT_FALSE(c.first_hash_difference);
  EXPECT_FALSE(c.first_divergence);
}

TEST_F(VerdictTest, OneBitDivergesWhereBothClaimTheSameArithmetic) {
  a_.tensors["blk1/q_proj"][0] = std::nextafter(a_.tensors["blk1/q_proj"][0], 10.0F);
  a_.tensors["t1/blk0/out"][0] += 1;
  const RunComparison c = compare(a_, b_);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged);
  EXPECT_EQ(first_divergence(c), "blk1/q_proj");
  EXPECT_EQ(c.first_hash_difference, c.first_divergence);
  EXPECT_THAT(c.verdict.reason, HasSubstr("blk1/q_proj is the first of 2 tensors that differ (prefill, layer 1)"));
  EXPECT_THAT(c.verdict.reason, HasSubstr("1 of 4 values differ"));
  EXPECT_EQ(tensor(c, "blk1/q_proj").metrics->n_different, 1u);
  EXPECT_EQ(c.n_hash_equal, 32u);
}

// Alphabetical order would name down_proj before q_proj, and t1/ before the prefill's later layers.
TEST_F(VerdictTest, FirstMeansExecutionOrder) {
  for (const char* name : {"t1/blk0/attn_norm", "blk1/down_proj", "blk1/q_proj", "output_norm", "logits"}) {
    a_.tensors[name][1] += 0.5F;
  }
  EXPECT_EQ(first_divergence(compare(a_, b_)), "blk1/q_proj");
}

TEST_F(VerdictTest, OneBitIsWithinToleranceBetweenDifferentArithmetics) {
  a_.arithmetic = "another";
  a_.tensors["blk1/q_proj"][0] *= 1.001F;
  const RunComparison c = compare(a_, b_);
  EXPECT_FALSE(c.exact);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kWithinTolerance) << c.verdict.reason;
  EXPECT_EQ(c.first_hash_difference->name(), "blk1/q_proj");
  EXPECT_FALSE(c.first_divergence);
  EXPECT_EQ(tensor(c, "blk1/q_proj").status, TensorStatus::kWithinTolerance);
  EXPECT_THAT(c.verdict.reason, HasSubstr("33 of 34 tensors are equal by hash"));
  EXPECT_EQ(compare(a_, b_, Exactness::kExact).verdict.kind, VerdictKind::kDiverged);
}

TEST_F(VerdictTest, ToleranceIsALimitOnBothSidesOfIt) {
  b_.arithmetic = "";
  const double limit = Tolerances{}.max_relative_error;
  const auto scaled_by = [&](double factor) {
    RunBuilder scaled = a_;
    for (float& value : scaled.tensors["blk0/out"]) {
      value *= static_cast<float>(factor);
    }
    return compare(scaled, b_);
  };
  EXPECT_EQ(scaled_by(1 + 0.99 * limit).verdict.kind, VerdictKind::kWithinTolerance);
  EXPECT_EQ(scaled_by(1 - 0.99 * limit).verdict.kind, VerdictKind::kWithinTolerance);
  const RunComparison c = scaled_by(1 + 1.01 * limit);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged);
  EXPECT_EQ(first_divergence(c), "blk0/out");
  EXPECT_NEAR(tensor(c, "blk0/out").metrics->relative_error.value(), 1.01 * limit, 1e-6);
  EXPECT_THAT(c.verdict.reason, HasSubstr("by more than the tolerance"));
}

TEST_F(VerdictTest, WithoutValuesRmsDecides) {
  a_.arithmetic = "another";
  a_.with_values = false;
  for (float& value : a_.tensors["blk0/out"]) {
    value *= 1.04F;
  }
  RunComparison c = compare(a_, b_);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kWithinTolerance);
  EXPECT_THAT(c.verdict.reason, HasSubstr("1 judged by RMS alone"));
  EXPECT_FALSE(tensor(c, "blk0/out").metrics);
  for (float& value : a_.tensors["blk0/out"]) {
    value *= 0.9F;
  }
  c = compare(a_, b_);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged);
  EXPECT_EQ(first_divergence(c), "blk0/out");
}

TEST_F(VerdictTest, ShapesThatDifferDiverge) {
  a_.tensors["blk0/k_proj"].push_back(1);
  a_.arithmetic = "another";
  const RunComparison c = compare(a_, b_);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged);
  EXPECT_EQ(tensor(c, "blk0/k_proj").status, TensorStatus::kShapeMismatch);
  EXPECT_THAT(c.verdict.reason, HasSubstr("its shape is [1, 5], the reference's [1, 4]"));
}

TEST_F(VerdictTest, MissingTensorDivergesInExactModeAndIsCountedOtherwise) {
  a_.tensors.erase("blk1/k_proj");
  RunComparison c = compare(a_, b_);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged);
  EXPECT_EQ(first_divergence(c), "blk1/k_proj");
  EXPECT_THAT(c.verdict.reason, HasSubstr("the subject did not trace it"));
  c = compare(a_, b_, Exactness::kTolerant);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kMistrusted);
  EXPECT_EQ(c.coverage.tensors_compared, 33u);
  EXPECT_EQ(c.coverage.tensors_expected, 34u);
  EXPECT_EQ(c.coverage.tensors_missing, 1u);
  EXPECT_EQ(c.missing, "the subject has not traced 1 tensor, the first is blk1/k_proj");
  EXPECT_THAT(c.verdict.reason, HasSubstr("1 of 34 tensors were not compared: " + c.missing));
  EXPECT_EQ(tensor(c, "blk1/k_proj").status, TensorStatus::kOnlyReference);
}

TEST_F(VerdictTest, WhatTheUserAllowsMayBeMissing) {
  std::erase_if(a_.tensors, [](const auto& entry) { return entry.first.find("blk1/") != std::string::npos; });
  const auto compared = [&](std::vector<std::string> allow, Exactness exactness) {
    CompareOptions options;
    options.exactness = exactness;
    options.allow_missing = std::move(allow);
    return compare_runs(a_.build(folder_), b_.build(folder_), options);
  };
  for (const Exactness exactness : {Exactness::kExact, Exactness::kTolerant}) {
    const bool exact = exactness == Exactness::kExact;
    EXPECT_EQ(compared({}, exactness).verdict.kind, exact ? VerdictKind::kDiverged : VerdictKind::kMistrusted);
    EXPECT_EQ(compared({"blk1/*"}, exactness).coverage.tensors_missing, 7u) << "those of t1/ are others";
    const RunComparison c = compared({"blk1/*", "t1/blk1/*"}, exactness);
    EXPECT_EQ(c.verdict.kind, VerdictKind::kMatch) << c.verdict.reason;
    EXPECT_EQ(c.coverage.tensors_expected, 20u);
    EXPECT_EQ(c.coverage.tensors_allowed_missing, 14u);
    EXPECT_THAT(c.verdict.reason, HasSubstr("14 tensors that may be missing"));
  }
  EXPECT_EQ(compared({"out"}, Exactness::kTolerant).coverage.tensors_missing, 12u) << "a stage, in every layer";
}

TEST_F(VerdictTest, WhatTheModelsGraphHasAndNeitherSideIsMissing) {
  CompareOptions options;
  options.graph = {{trace::Stage::kEmbeddings, trace::Stage::kQProj, trace::Stage::kLogits}, 2};
  RunComparison c = compare_runs(a_.build(folder_), b_.build(folder_), options);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kMatch) << c.verdict.reason;
  for (RunBuilder* builder : {&a_, &b_}) {  // both stop in the prefill's first layer
    std::erase_if(builder->tensors,
                  [](const auto& entry) { return entry.first.starts_with("t1/") || entry.first.starts_with("blk1/"); });
  }
  c = compare_runs(a_.build(folder_), b_.build(folder_), options);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kMistrusted);
  EXPECT_EQ(c.missing, "neither side has traced 5 tensors, the first is blk1/q_proj");
  EXPECT_EQ(tensor(c, "t1/logits").status, TensorStatus::kMissing);
  options.cut_short = true;
  EXPECT_EQ(compare_runs(a_.build(folder_), b_.build(folder_), options).missing, "") << "both end there";
}

TEST_F(VerdictTest, AReversedShapeIsNoDifferenceOfTheValues) {
  const auto reversed = [&](const std::string& name) {
    trace::EngineRun run = a_.build(folder_);
    std::vector<trace::TraceRecord> records(run.trace.begin(), run.trace.end());
    for (trace::TraceRecord& record : records) {
      if (record.id.name() == name) {
        std::reverse(record.shape.begin(), record.shape.end());
      }
    }
    run.trace = *trace::Records::create(std::move(records), trace::Records::Given::kInOrder, "test");
    return run;
  };
  RunComparison c = compare_runs(reversed("blk0/out"), b_.build(folder_));
  EXPECT_EQ(c.verdict.kind, VerdictKind::kMatch) << c.verdict.reason;
  EXPECT_EQ(tensor(c, "blk0/out").status, TensorStatus::kHashEqual);
  EXPECT_EQ(tensor(c, "blk0/out").note, "the same values, the shape reversed: [4, 1], the reference's [1, 4]");
  ASSERT_EQ(c.notes.size(), 1u);
  EXPECT_THAT(c.notes[0], HasSubstr("1 of 1 tensors have the same values, the shape reversed: blk0/out is [4, 1]"));
  a_.tensors["blk0/out"][0] += 7;  // the shape is no excuse for other values
  c = compare_runs(reversed("blk0/out"), b_.build(folder_), {Exactness::kTolerant, {}});
  EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged);
  EXPECT_THAT(c.verdict.reason, HasSubstr("the shape reversed"));
}

TEST_F(VerdictTest, WithoutRmsAndValuesAnotherHashIsNotMeasured) {
  a_.with_values = false;
  a_.tensors["blk0/out"][0] *= 1.001F;
  trace::EngineRun subject = a_.build(folder_);
  std::vector<trace::TraceRecord> records(subject.trace.begin(), subject.trace.end());
  for (trace::TraceRecord& record : records) {
    record.rms.reset();
  }
  subject.trace = *trace::Records::create(std::move(records), trace::Records::Given::kInOrder, "test");
  const RunComparison c = compare_runs(subject, b_.build(folder_), {Exactness::kTolerant, {}});
  EXPECT_EQ(tensor(c, "blk0/out").status, TensorStatus::kNotMeasured);
  EXPECT_EQ(c.n_hash_equal, 33u) << "an RMS is not needed where the hashes are equal";
  EXPECT_EQ(c.verdict.kind, VerdictKind::kMistrusted);
  EXPECT_THAT(c.verdict.reason, HasSubstr("neither RMS nor values of 1 tensor, the first is blk0/out"));
}

TEST_F(VerdictTest, PromptsWithOtherIdsAreNotComparedFurther) {
  a_.prompt_tokens = {5, 1};
  const RunComparison c = compare(a_, b_);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged);
  EXPECT_FALSE(c.tokens.prompt_equal);
  EXPECT_THAT(c.verdict.reason, HasSubstr("position 0 on: 5, the reference's 1"));
  EXPECT_EQ(c.coverage.tensors_compared, 0u);
  EXPECT_EQ(c.coverage.positions_compared, 0u);
  EXPECT_FALSE(c.tokens.exact_match_rate);
  EXPECT_FALSE(c.first_divergence);
  b_.prompt_tokens = {5, 1, 7};
  b_.logits.push_back({1, 0, 0, 0});
  EXPECT_THAT(compare(a_, b_).verdict.reason, HasSubstr("position 2 on: nothing, the reference's 7 (2 ids, 3 ids)"));
}

TEST_F(VerdictTest, NothingIsComparedBehindADifferentToken) {
  a_.generated_tokens = {1, 2};
  a_.tensors["t1/blk0/q_proj"][0] = 77;
  a_.logits[2] = {9, 0, 0, 0};
  const RunComparison c = compare(a_, b_);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged);
  EXPECT_EQ(c.tokens.first_divergence_step, 0u);
  EXPECT_EQ(c.tokens.exact_match_rate, 0.5);
  EXPECT_EQ(c.coverage.tensors_compared, 17u);
  EXPECT_EQ(c.coverage.positions_compared, 2u);
  EXPECT_EQ(tensor(c, "t1/blk0/q_proj").status, TensorStatus::kAfterTokenMismatch);
  EXPECT_FALSE(c.first_divergence);
  EXPECT_FALSE(c.first_hash_difference);
  EXPECT_THAT(c.verdict.reason, HasSubstr("from step 0 on: 1, the reference's 3"));
  EXPECT_THAT(c.verdict.reason, HasSubstr("own logits prefer 3, so how it picks a token is at fault"));
}

TEST_F(VerdictTest, StoppingEarlyDiverges) {
  a_.generated_tokens = {3};
  a_.logits.pop_back();
  std::erase_if(a_.tensors, [](const auto& entry) { return entry.first.starts_with("t1/"); });
  const RunComparison c = compare(a_, b_);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged);
  EXPECT_EQ(c.tokens.first_divergence_step, 1u);
  EXPECT_THAT(c.verdict.reason, HasSubstr("the subject stopped after 1 generated tokens"));
  EXPECT_FALSE(c.first_divergence);
  // The same runs where the subject was only asked for one token: nothing is missing.
  a_.max_tokens = 1;
  const RunComparison shorter = compare(a_, b_);
  EXPECT_EQ(shorter.verdict.kind, VerdictKind::kMatch) << shorter.verdict.reason;
  EXPECT_EQ(shorter.coverage.tensors_expected, 17u);
}

// The reference rates 3 above 2 by 0.001; the subject's logits differ by more than that and put 2 first.
class NearTieTest : public VerdictTest {
 protected:
  NearTieTest() {
    a_.arithmetic = "another";
    b_.logits[1] = {0, 1, 2.999F, 3};
    a_.logits[1] = {0, 1, 3.004F, 2.998F};
    b_.tensors["logits"] = b_.logits[1];
    a_.tensors["logits"] = a_.logits[1];
    a_.generated_tokens = {2, 2};
  }
};

TEST_F(NearTieTest, IsNoDivergence) {
  const RunComparison c = compare(a_, b_);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kWithinTolerance) << c.verdict.reason;
  EXPECT_THAT(c.verdict.reason, HasSubstr("near tie at step 0"));
  EXPECT_EQ(c.tokens.exact_match_rate, 0.5);
  EXPECT_EQ(c.coverage.tensors_compared, 17u);
}

TEST_F(NearTieTest, IsADivergenceWhereEqualBitsAreDemanded) {
  EXPECT_EQ(compare(a_, b_, Exactness::kExact).verdict.kind, VerdictKind::kDiverged);
}

TEST_F(NearTieTest, NeedsASmallGap) {
  b_.logits[1] = {0, 1, 2.9F, 3};
  b_.tensors["logits"] = b_.logits[1];
  a_.logits[1] = {0, 1, 2.96F, 2.95F};
  a_.tensors["logits"] = a_.logits[1];
  const RunComparison c = compare(a_, b_);
  EXPECT_GT(c.logits->min_cosine.value(), 0.99);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged) << c.verdict.reason;
}

TEST_F(NearTieTest, NeedsLogits) {
  a_.logits.clear();
  EXPECT_EQ(compare(a_, b_).verdict.kind, VerdictKind::kDiverged);
}

TEST_F(NearTieTest, IsNoExcuseForATokenThatTheLogitsDidNotChoose) {
  a_.generated_tokens = {1, 2};
  const RunComparison c = compare(a_, b_);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged);
  EXPECT_THAT(c.verdict.reason, HasSubstr("own logits prefer 2"));
}

TEST_F(VerdictTest, LogitsOutsideOfTheToleranceDivergeEvenWithEqualTokens) {
  a_.arithmetic = "another";
  a_.logits[2] = {3.5F, 1, 4, 3};
  RunComparison c = compare(a_, b_);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged);
  EXPECT_EQ(first_divergence(c), "t1/logits");
  EXPECT_LT(c.logits->min_cosine.value(), 0.95);
  EXPECT_THAT(c.verdict.reason, HasSubstr("the logits of row 2 (decode step 1)"));
  a_.logits[2] = {kNotANumber, 1, 4, 3};
  c = compare(a_, b_);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged);
  EXPECT_THAT(c.verdict.reason, HasSubstr("1 of 4 values are not finite"));
}

TEST_F(VerdictTest, VocabulariesOfAnotherSizeDiverge) {
  a_.arithmetic = "another";
  for (auto& row : a_.logits) {
    row.push_back(-1);
  }
  const RunComparison c = compare(a_, b_);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged);
  EXPECT_THAT(c.verdict.reason, HasSubstr("5 entries a row, the reference's 4"));
  EXPECT_FALSE(c.logits->min_cosine);
}

TEST_F(VerdictTest, EmptyTraceIsMistrusted) {
  a_.tensors.clear();
  for (const Exactness exactness : {Exactness::kExact, Exactness::kTolerant}) {
    const RunComparison c = compare(a_, b_, exactness);
    EXPECT_EQ(c.verdict.kind, VerdictKind::kMistrusted);
    EXPECT_THAT(c.verdict.reason, HasSubstr("the subject has no trace"));
    EXPECT_EQ(compare(b_, a_, exactness).verdict.kind, VerdictKind::kMistrusted);
    EXPECT_EQ(compare(a_, a_, exactness).verdict.kind, VerdictKind::kMistrusted);
  }
}

TEST_F(VerdictTest, StagesOfAnyNameAreComparedInTheSubjectsOrder) {
  a_.tensors = {{"embd", {1, 2}}, {"blk0/Vcur", {3, 4}}, {"blk0/Qcur.rope#2", {5, 6}}, {"result", {7, 8}}};
  a_.order = {"embd", "blk0/Vcur", "blk0/Qcur.rope#2", "result"};
  b_.tensors = {
      {"embd", {1, 2}}, {"extra", {9}}, {"blk0/Qcur.rope#2", {5, 7}}, {"blk0/Vcur", {3, 5}}, {"result", {7, 8}}};
  b_.order = {"embd", "extra", "blk0/Qcur.rope#2", "blk0/Vcur", "result"};
  const RunComparison c = compare(a_, b_, Exactness::kTolerant);
  std::vector<std::string> names;
  for (const TensorComparison& tensor : c.tensors) {
    names.push_back(tensor.id.name());
  }
  EXPECT_EQ(names, (std::vector<std::string>{"embd", "extra", "blk0/Vcur", "blk0/Qcur.rope#2", "result"}));
  EXPECT_EQ(c.n_hash_equal, 2U);
  ASSERT_TRUE(c.first_divergence);
  EXPECT_EQ(c.first_divergence->name(), "blk0/Vcur");
  EXPECT_THAT(c.verdict.reason, HasSubstr("blk0/Vcur"));
}

TEST_F(VerdictTest, NodesOfOneOfTwoGraphsDoNotCountUnderTwoSettings) {
  a_.tensors = {{"blk0/kqv", {1, 2}}, {"blk0/kqv_out", {3, 4}}, {"result", {7, 8}}};
  b_.tensors = {{"blk0/flash", {5, 6}}, {"blk0/kqv_out", {3, 4}}, {"result", {7, 8}}};
  EXPECT_EQ(compare(a_, b_, Exactness::kExact).verdict.kind, VerdictKind::kDiverged);
  a_.settings = {{"flash_attention", "off"}};
  b_.settings = {{"flash_attention", "on"}};
  const RunComparison c = compare(a_, b_, Exactness::kExact);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kMatch) << c.verdict.reason;
  EXPECT_EQ(c.coverage.tensors_expected, 2U);
  EXPECT_EQ(c.coverage.tensors_compared, 2U);
  EXPECT_EQ(c.coverage.tensors_of_one_graph, 2U);
  EXPECT_THAT(c.verdict.reason, HasSubstr("2 nodes are in one of the two graphs only"));
  b_.settings = a_.settings;  // the same settings lead to the same graph
  EXPECT_EQ(compare(a_, b_, Exactness::kExact).verdict.kind, VerdictKind::kDiverged);
}

TEST_F(VerdictTest, ZerosAreLegalInAFewStagesOfWhichNothingIsKnown) {
  a_.tensors = {{"mask", {0, 0}}};
  for (int i = 0; i < 12; ++i) {
    a_.tensors["blk0/x#" + std::to_string(i)] = {1.0F, static_cast<float>(i)};
  }
  const RunComparison c = compare(a_, a_, Exactness::kExact);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kMatch) << c.verdict.reason;
  a_.tensors["other"] = {0};
  EXPECT_EQ(compare(a_, a_, Exactness::kExact).verdict.kind, VerdictKind::kMistrusted);
  a_.tensors = {{"blk0/q_proj", {0, 0}}, {"blk0/k_proj", {1, 2}}};
  EXPECT_EQ(compare(a_, a_, Exactness::kExact).verdict.kind, VerdictKind::kMistrusted);
}

TEST_F(VerdictTest, NoCommonStageIsMistrusted) {
  a_.tensors = {{"blk0/attn_norm", {1, 2}}};
  b_.tensors = {{"blk0/ffn_norm", {1, 2}}};
  const RunComparison c = compare(a_, b_, Exactness::kTolerant);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kMistrusted);
  EXPECT_EQ(c.coverage.tensors_compared, 0u);
}

TEST_F(VerdictTest, NothingGeneratedIsMistrusted) {
  for (RunBuilder* builder : {&a_, &b_}) {
    builder->generated_tokens.clear();
    builder->logits.pop_back();
  }
  EXPECT_EQ(compare(a_, b_).verdict.kind, VerdictKind::kMistrusted);
}

TEST_F(VerdictTest, NanOnBothSidesIsMistrustedWhateverFollows) {
  a_.tensors["blk0/q_proj"][1] = b_.tensors["blk0/q_proj"][1] = kNotANumber;
  RunComparison c = compare(a_, b_);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kMistrusted);
  EXPECT_THAT(c.verdict.reason, HasSubstr("blk0/q_proj: NaN"));
  EXPECT_EQ(c.coverage.tensors_compared, 33u);
  a_.generated_tokens = {0, 2};
  c = compare(a_, b_);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kMistrusted) << "tokens chosen behind a NaN differ by chance";
  a_.tensors["embeddings"][0] = 9;
  EXPECT_EQ(first_divergence(compare(a_, b_)), "embeddings") << "what came before the NaN still counts";
}

TEST_F(VerdictTest, NanOnOneSideDiverges) {
  a_.arithmetic = "another";
  a_.tensors["blk0/q_proj"][1] = kNotANumber;
  for (const RunComparison& c : {compare(a_, b_), compare(b_, a_)}) {
    EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged);
    EXPECT_EQ(first_divergence(c), "blk0/q_proj");
    EXPECT_THAT(c.verdict.reason, HasSubstr("not finite"));
  }
}

TEST_F(VerdictTest, ZerosOnBothSidesAreMistrusted) {
  a_.tensors["blk1/q_proj"] = b_.tensors["blk1/q_proj"] = {0, 0, 0, 0};
  const RunComparison c = compare(a_, b_);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kMistrusted);
  EXPECT_THAT(c.verdict.reason, HasSubstr("blk1/q_proj: all zeros on both sides"));
  a_.tensors["blk1/q_proj"] = {0, 0.5F, 0, 0};
  EXPECT_EQ(compare(a_, b_).verdict.kind, VerdictKind::kDiverged);
  EXPECT_EQ(compare(a_, b_, Exactness::kTolerant).verdict.kind, VerdictKind::kDiverged);
}

TEST_F(VerdictTest, AClosedGateIsLegalButNotCounted) {
  const auto close = [&](const std::string& layer) {
    for (const char* stage : {"ffn_act", "ffn_sub_norm", "down_proj"}) {
      a_.tensors[layer + stage] = b_.tensors[layer + stage] = {0, 0, 0, 0};
    }
  };
  close("t1/blk0/");
  RunComparison c = compare(a_, b_);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kMatch) << c.verdict.reason;
  EXPECT_EQ(c.coverage.tensors_compared, 31u);
  EXPECT_THAT(c.verdict.reason, HasSubstr("3 are zero behind a closed gate"));
  close("blk0/");  // now 6 of 34
  EXPECT_EQ(compare(a_, b_).verdict.kind, VerdictKind::kMistrusted);
}

TEST_F(VerdictTest, AZeroActivationBeforeANonZeroProductIsNoClosedGate) {
  a_.tensors["blk0/ffn_act"] = b_.tensors["blk0/ffn_act"] = {0, 0, 0, 0};
  const RunComparison c = compare(a_, b_);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kMistrusted);
  EXPECT_EQ(tensor(c, "blk0/ffn_act").status, TensorStatus::kMistrusted);
}

TEST_F(VerdictTest, ValuesThatAreNotTheTracedOnesAreMistrusted) {
  const trace::EngineRun honest = b_.build(folder_);
  trace::EngineRun forged = a_.build(folder_);
  a_.tensors["blk0/q_proj"][0] += 1;
  forged.values = std::move(a_.build(folder_).values);
  const RunComparison c = compare_runs(forged, honest);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kMistrusted);
  EXPECT_THAT(c.verdict.reason, HasSubstr("blk0/q_proj: the subject's values are not those that its trace has hashed"));
}

TEST_F(VerdictTest, ZeroLogitsOnBothSidesAreMistrusted) {
  a_.logits = b_.logits = {{0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}};
  EXPECT_EQ(compare(a_, b_).verdict.kind, VerdictKind::kMistrusted);
  a_.logits[0] = {1, 0, 0, 0};
  EXPECT_EQ(compare(a_, b_).verdict.kind, VerdictKind::kDiverged);
}

}  // namespace
}  // namespace tern::compare
