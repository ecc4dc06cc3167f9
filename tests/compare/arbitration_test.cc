#include "tern/compare/arbitration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "compare/run_builder.h"

namespace tern::compare {
namespace {

using test::RunBuilder;
using testing::HasSubstr;

// Every value times 1 + `relative`, with alternating sign.
RunBuilder shaken(RunBuilder run, float relative) {
  float sign = 1;
  for (auto& [name, values] : run.tensors) {
    for (float& value : values) {
      value *= 1 + sign * relative;
      sign = -sign;
    }
  }
  return run;
}

class ArbitrationTest : public testing::Test {
 protected:
  Arbitration arbitrate_runs(const RunBuilder& subject, const RunBuilder& reference) {
    const trace::EngineRun a = subject.build(folder_), b = reference.build(folder_);
    const trace::EngineRun oracle = RunBuilder::example().build(folder_);
    const trace::EngineRun rounded = shaken(RunBuilder::example(), 1e-3F).build(folder_);
    return arbitrate({{&a}, {&b}}, oracle, RoundingNoise(oracle, rounded));
  }
  // Two sides of one arithmetic that have hashes and RMS only.
  Arbitration arbitrate_hashes(RunBuilder subject, RunBuilder reference, bool equal_hashes = true) {
    for (RunBuilder* side : {&subject, &reference}) {
      side->with_values = false;
      side->logits.clear();
    }
    const trace::EngineRun a = subject.build(folder_), b = reference.build(folder_);
    const trace::EngineRun oracle = shaken(RunBuilder::example(), 1e-4F).build(folder_);
    const trace::EngineRun rounded = shaken(RunBuilder::example(), 1e-3F).build(folder_);
    return arbitrate({{&a}, {&b}}, oracle, RoundingNoise(oracle, rounded), "subject", equal_hashes);
  }
  static void negate(RunBuilder& run, const std::string& name) {
    for (float& value : run.tensors.at(name)) {
      value = -value;
    }
  }

  test::TemporaryFolder folder_;
  RunBuilder right_ = shaken(RunBuilder::example(), 1e-4F);
  RunBuilder wrong_ = RunBuilder::example();
};

TEST_F(ArbitrationTest, BothWithinRounding) {
  const Arbitration result = arbitrate_runs(right_, RunBuilder::example());
  EXPECT_EQ(result.wrong(), Wrong::kNeither);
  EXPECT_EQ(result.n_held.subject, result.stages.size());
  EXPECT_EQ(result.n_held.reference, result.stages.size());
  EXPECT_EQ(result.stages.size(), RunBuilder::example().tensors.size());
  EXPECT_THAT(result.reason, HasSubstr("within rounding"));
}

TEST_F(ArbitrationTest, NamesTheWrongSideAndTheFirstPlaceInPrefillAndDecode) {
  for (const char* name : {"blk0/q_proj", "blk1/out", "t1/blk1/q_proj"}) {
    for (float& value : wrong_.tensors[name]) {
      value = -value;
    }
  }
  const Arbitration result = arbitrate_runs(right_, wrong_);
  EXPECT_EQ(result.wrong(), Wrong::kReference);
  ASSERT_TRUE(result.first_wrong.reference.prefill && result.first_wrong.reference.decode);
  EXPECT_EQ(result.first_wrong.reference.prefill->name(), "blk0/q_proj");
  EXPECT_EQ(result.first_wrong.reference.decode->name(), "t1/blk1/q_proj");
  EXPECT_THAT(result.reason, HasSubstr("the reference is wrong from blk0/q_proj on (prefill, layer 0), and from "
                                       "t1/blk1/q_proj on (decode step 1, layer 1): its relative error against the "
                                       "oracle is 2"));
  EXPECT_EQ(arbitrate_runs(wrong_, right_).wrong(), Wrong::kSubject);
  EXPECT_EQ(arbitrate_runs(wrong_, wrong_).wrong(), Wrong::kBoth);
}

// |x| - |o| bounds the distance from below: a changed RMS proves an error without values, an equal one proves nothing.
TEST_F(ArbitrationTest, WithoutValuesTheRmsIsALowerBound) {
  wrong_.with_values = false;
  for (float& value : wrong_.tensors["blk0/q_proj"]) {
    value *= -3;
  }
  const Arbitration result = arbitrate_runs(right_, wrong_);
  EXPECT_EQ(result.wrong(), Wrong::kReference);
  EXPECT_THAT(result.reason, HasSubstr("relative error against the oracle is at least 2"));
}

// A sign leaves the RMS as it is, and so does much else: what shows that a side is wrong comes in a later layer.
TEST_F(ArbitrationTest, OfOneArithmeticASideIsWrongWhereTheHashesPart) {
  negate(wrong_, "blk0/k_proj");
  wrong_.tensors["blk1/out"][0] *= 9;
  for (const bool subject_is_wrong : {true, false}) {
    const auto right = RunBuilder::example();
    const Arbitration result = arbitrate_hashes(subject_is_wrong ? wrong_ : right, subject_is_wrong ? right : wrong_);
    EXPECT_EQ(result.wrong(), subject_is_wrong ? Wrong::kSubject : Wrong::kReference);
    const FirstWrong& first = subject_is_wrong ? result.first_wrong.subject : result.first_wrong.reference;
    ASSERT_TRUE(first.first());
    EXPECT_EQ(first.first()->name(), "blk0/k_proj");
    EXPECT_EQ(first.shown()->name(), "blk1/out");
    EXPECT_TRUE(first.has_equal_inputs);
    EXPECT_THAT(result.reason, HasSubstr("both follow one arithmetic, but its hash is not; it shows at blk1/out: "));
  }
  const Arbitration tolerant = arbitrate_hashes(wrong_, RunBuilder::example(), false);
  EXPECT_EQ(tolerant.first_wrong_tensor()->name(), "blk1/out");
}

TEST_F(ArbitrationTest, ADifferenceThatNoRmsShowsIsOneOfASideThatIsNotKnown) {
  for (const char* name : {"embeddings", "blk1/q_proj", "t1/blk0/out"}) {
    RunBuilder changed = RunBuilder::example();
    negate(changed, name);
    const Arbitration result = arbitrate_hashes(changed, RunBuilder::example());
    EXPECT_EQ(result.wrong(), Wrong::kUnknown);
    EXPECT_FALSE(result.someone_is_wrong());
    ASSERT_TRUE(result.parted);
    EXPECT_EQ(result.parted->id.name(), name);
    EXPECT_THAT(result.reason, HasSubstr("which one is not known"));
    EXPECT_THAT(result.reason, testing::Not(HasSubstr("within rounding")));
    EXPECT_EQ(arbitrate_hashes(changed, RunBuilder::example(), false).wrong(), Wrong::kNeither);
  }
  EXPECT_EQ(arbitrate_hashes(RunBuilder::example(), RunBuilder::example()).wrong(), Wrong::kNeither);
}

// Both are wrong before their hashes part: that they part later is not where they begin.
TEST_F(ArbitrationTest, WhatBothComputedAlikeIsNotMovedToWhereTheHashesPart) {
  RunBuilder both = RunBuilder::example();
  both.tensors["blk0/q_proj"][0] *= 9;
  RunBuilder other = both;
  negate(other, "blk1/k_proj");
  const Arbitration result = arbitrate_hashes(other, both);
  EXPECT_EQ(result.wrong(), Wrong::kBoth);
  EXPECT_EQ(result.first_wrong_tensor()->name(), "blk0/q_proj");
}

// The order of ids has queries before keys; the records have them the other way round.
TEST_F(ArbitrationTest, WhatIsWrongFirstIsSoInTheOrderOfTheRecords) {
  wrong_.order = {"embeddings", "blk0/attn_norm", "blk0/k_proj", "blk0/q_proj"};
  negate(wrong_, "blk0/q_proj");
  negate(wrong_, "blk0/k_proj");
  for (const bool subject_is_wrong : {true, false}) {
    RunBuilder right = right_;
    right.order = wrong_.order;
    const Arbitration result = arbitrate_runs(subject_is_wrong ? wrong_ : right, subject_is_wrong ? right : wrong_);
    EXPECT_EQ(result.first_wrong_tensor()->name(), "blk0/k_proj");
    for (const StageArbitration& stage : result.stages) {
      EXPECT_EQ(result.find(stage.id), &stage) << stage.id.name();
    }
  }
}

TEST(ExecutionOrder, IsThatOfTheFirstRunAndWhatItLacksComesWhereTheOthersHaveIt) {
  const test::TemporaryFolder folder;
  const auto id = [](const char* name) { return *trace::TensorId::parse(name); };
  RunBuilder first = RunBuilder::example(), second = RunBuilder::example();
  first.order = {"embeddings", "blk0/attn_norm", "blk0/k_proj", "blk0/q_proj"};
  first.tensors.erase("blk1/k_proj");
  second.tensors["blk0/norm-of-rows"] = {1, 2};
  second.order = {"embeddings", "blk0/norm-of-rows"};
  const trace::EngineRun a = first.build(folder), b = second.build(folder);
  const ExecutionOrder order({&a.trace, nullptr, &b.trace});
  EXPECT_TRUE(order.before(id("blk0/k_proj"), id("blk0/q_proj")));
  EXPECT_TRUE(order.before(id("blk0/norm-of-rows"), id("blk0/attn_norm")));
  EXPECT_TRUE(order.before(id("blk1/q_proj"), id("blk1/k_proj")));
  EXPECT_TRUE(order.before(id("blk1/k_proj"), id("blk1/ffn_act")));
  EXPECT_TRUE(order.before(id("output_norm"), id("t1/embeddings")));
  EXPECT_FALSE(order.knows(id("blk9/q_proj")));
  EXPECT_TRUE(order.before(id("blk1/out"), id("blk9/q_proj")));
}

// A side without values, held to what was measured of RMS. `reference_values`: the other side is right by its values.
class ByRms : public testing::Test {
 protected:
  ByRms() {
    for (auto& [name, values] : right_.tensors) {
      const float size = values[0];
      values.resize(64);
      for (size_t i = 0; i < values.size(); ++i) {
        values[i] = size * (i % 2 == 0 ? 1 : -1) * (1 + 0.01F * static_cast<float>(i % 5));
      }
    }
    right_.logits.clear();
    right_.arithmetic.clear();
    wrong_ = right_;
    wrong_.with_values = false;
  }
  // Rounding moves each value by 1 %, and an RMS by 0.1 %: with five samples the bound is 6 * 3.4 times as much.
  // `floor`: what rounding does to the values of a tensor on equal inputs.
  Arbitration arbitrate_wrong(const RunBuilder& reference, bool reference_is_wrong = false, float floor = 1e-2F) {
    const trace::EngineRun oracle = right_.build(folder_), subject = wrong_.build(folder_),
                           other = reference.build(folder_);
    RoundingNoise noise(oracle, shaken(right_, 1e-2F).build(folder_));
    for (const float off : {1e-3F, -1e-3F, 1e-3F, -1e-3F, 1e-3F}) {
      RunBuilder sample = right_;
      scale(sample, off);
      noise.include_rms(oracle, sample.build(folder_));
    }
    const trace::EngineRun rounded = shaken(reference_is_wrong ? right_ : reference, floor).build(folder_);
    const Isolation isolation(other, reference_is_wrong ? oracle : other, {&rounded});
    return arbitrate({{&subject}, {&other, reference_has_values_ ? &isolation : nullptr}}, oracle, noise, "subject",
                     equal_hashes_);
  }
  static void scale(RunBuilder& run, float off, const std::string& from = "") {
    for (auto& [name, values] : run.tensors) {
      for (float& value : values) {
        value *= from.empty() || name == from ? 1 + off : 1;
      }
    }
  }
  static constexpr float kBound = 6 * 3.4F * 1e-3F;

  test::TemporaryFolder folder_;
  RunBuilder right_ = RunBuilder::example(), wrong_;
  bool equal_hashes_ = false, reference_has_values_ = true;
};

TEST_F(ByRms, ASideIsHeldToWhatRoundingDoesToAnRms) {
  scale(wrong_, 0.9F * kBound, "blk0/q_proj");
  EXPECT_EQ(arbitrate_wrong(right_).wrong(), Wrong::kNeither);
  scale(wrong_, 0.2F * kBound, "blk0/q_proj");
  const Arbitration result = arbitrate_wrong(right_);
  EXPECT_EQ(result.wrong(), Wrong::kSubject);
  EXPECT_EQ(result.first_wrong.subject.first()->name(), "blk0/q_proj");
  EXPECT_THAT(result.reason, HasSubstr("rounding explains 0.0204"));
}

TEST_F(ByRms, DigitsThatAreNotStatedAreNoError) {
  scale(wrong_, 1.1F * kBound, "blk0/q_proj");
  wrong_.rms_digits = 2;
  EXPECT_EQ(arbitrate_wrong(right_).wrong(), Wrong::kNeither);
}

// Four deviations prove nothing by themselves; of a side that is wrong behind them they are the beginning.
TEST_F(ByRms, AWrongSideBeginsWhereItsRmsIsOffByFourDeviations) {
  scale(wrong_, 0.8F * kBound, "blk0/q_proj");
  scale(wrong_, 3 * kBound, "blk1/out");
  const Arbitration result = arbitrate_wrong(right_);
  EXPECT_EQ(result.first_wrong.subject.first()->name(), "blk0/q_proj");
  EXPECT_EQ(result.first_wrong.subject.shown()->name(), "blk1/out");
  EXPECT_TRUE(result.find(*trace::TensorId::parse("blk0/q_proj"))->sides.subject.wrong);
  EXPECT_THAT(result.reason, HasSubstr("the subject is wrong from blk0/q_proj on (prefill, layer 0): its RMS is off by "
                                       "0.0163, 4.8 standard deviations of what rounding does to it; it shows at "
                                       "blk1/out: its relative error against the oracle is at least"));
}

TEST_F(ByRms, TheSameRmsWithAnotherHashIsWhereAWrongSideBegins) {
  for (float& value : wrong_.tensors["blk1/k_proj"]) {
    value *= -1;
  }
  EXPECT_EQ(arbitrate_wrong(right_).wrong(), Wrong::kNeither);
  scale(wrong_, 3 * kBound, "blk1/out");
  const Arbitration result = arbitrate_wrong(right_);
  EXPECT_EQ(result.first_wrong.subject.first()->name(), "blk1/k_proj");
  EXPECT_THAT(result.reason, HasSubstr("as of values with other signs or in another order; it shows at blk1/out"));

  RunBuilder wrong_there = right_;  // then it is the other side whose hash should be another
  scale(wrong_there, 0.5F, "blk1/k_proj");
  EXPECT_EQ(arbitrate_wrong(wrong_there, true).first_wrong.subject.first()->name(), "blk1/out");
}

TEST_F(ByRms, AStageWhoseKindWasEqualBeforeIsWhereAWrongSideBegins) {
  scale(wrong_, 0.1F * kBound, "blk1/k_proj");
  scale(wrong_, 3 * kBound, "blk1/out");
  EXPECT_EQ(arbitrate_wrong(right_).first_wrong.subject.first()->name(), "blk1/k_proj");
  scale(wrong_, 0.1F * kBound, "blk0/attn_norm");  // the first of its kind may round in its own way
  EXPECT_EQ(arbitrate_wrong(right_).first_wrong.subject.first()->name(), "blk1/out");
}

TEST_F(ByRms, OnEqualInputsASideIsHeldToTheTensorsOwnRounding) {
  scale(wrong_, 0.5F * kBound, "blk1/k_proj");
  EXPECT_EQ(arbitrate_wrong(right_).wrong(), Wrong::kNeither);
  const Arbitration result = arbitrate_wrong(right_, false, 1e-4F);
  EXPECT_EQ(result.wrong(), Wrong::kSubject);
  EXPECT_EQ(result.first_wrong.subject.first()->name(), "blk1/k_proj");
  EXPECT_THAT(result.reason, HasSubstr("the subject is wrong from blk1/k_proj on"));
  wrong_.tensors["embeddings"][0] *= 1.0001F;  // the inputs are no longer known to be equal
  EXPECT_EQ(arbitrate_wrong(right_, false, 1e-4F).wrong(), Wrong::kNeither);
}

// Of one arithmetic, and the other side right by its values: that neither is wrong is not shown.
TEST_F(ByRms, WhereTheHashesOfOneArithmeticPartNothingIsCalledRounding) {
  for (float& value : wrong_.tensors["blk1/k_proj"]) {
    value *= -1;
  }
  equal_hashes_ = true;
  Arbitration result = arbitrate_wrong(right_);
  EXPECT_EQ(result.wrong(), Wrong::kUnknown);
  EXPECT_EQ(result.parted->id.name(), "blk1/k_proj");
  EXPECT_THAT(result.reason, HasSubstr("the reference's values show no error of its own"));
  EXPECT_THAT(result.reason, testing::Not(HasSubstr("within rounding")));
  scale(wrong_, 3 * kBound, "t1/blk0/out");
  result = arbitrate_wrong(right_);
  EXPECT_EQ(result.wrong(), Wrong::kSubject);
  EXPECT_EQ(result.first_wrong.subject.first()->name(), "blk1/k_proj");
  EXPECT_EQ(result.first_wrong.subject.shown()->name(), "t1/blk0/out");
}

// No values on either side: the other one is right as far as RMS shows.
TEST_F(ByRms, TheSameRmsWithAnotherHashThanThatOfASideWithoutValuesIsWhereItBegins) {
  for (float& value : wrong_.tensors["blk1/k_proj"]) {
    value *= -1;
  }
  scale(wrong_, 3 * kBound, "blk1/out");
  reference_has_values_ = false;
  EXPECT_EQ(arbitrate_wrong(right_).first_wrong.subject.first()->name(), "blk1/k_proj");
}

TEST(WhereTheyPart, IsTheFirstOtherHashBehindAnEqualOne) {
  const test::TemporaryFolder folder;
  const trace::EngineRun a = RunBuilder::example().build(folder);
  EXPECT_FALSE(where_they_part(a, a));
  RunBuilder other = RunBuilder::example();
  other.tensors["t1/blk1/q_proj"][0] += 1;
  EXPECT_EQ(where_they_part(a, other.build(folder))->name(), "t1/blk1/q_proj");
  other.tensors["blk1/k_proj"][0] += 1;
  EXPECT_EQ(where_they_part(a, other.build(folder))->name(), "blk1/k_proj");
  other.tensors["embeddings"][0] += 1;  // nothing is known to be equal before it
  EXPECT_FALSE(where_they_part(a, other.build(folder)));
  EXPECT_EQ(where_they_part(a, other.build(folder), FirstTensor::kCounts)->name(), "embeddings");
}

// The order of ids has unknown stages behind the known ones of their layer.
TEST(WhereTheyPart, CountsInTheOrderOfExecution) {
  const test::TemporaryFolder folder;
  RunBuilder ours = RunBuilder::example();
  ours.tensors["blk1/norm-of-rows"] = {1, 2};
  ours.order = {"embeddings", "blk1/norm-of-rows"};  // and then the others
  RunBuilder other = ours;
  other.tensors["blk1/norm-of-rows"][0] += 1;
  other.tensors["blk1/q_proj"][0] += 1;
  const trace::EngineRun a = ours.build(folder), b = other.build(folder);
  EXPECT_EQ(where_they_part(a, b)->name(), "blk1/norm-of-rows");
  const auto unknown = *trace::TensorId::parse("blk1/norm-of-rows"), known = *trace::TensorId::parse("blk1/q_proj");
  EXPECT_LT(known, unknown);
  EXPECT_TRUE(trace::executed_before(a.trace, unknown, known));
  EXPECT_FALSE(trace::executed_before(a.trace, known, unknown));
}

TEST_F(ArbitrationTest, OneWrongValueIsSeenInALargeTensor) {
  RunBuilder large = RunBuilder::example();
  large.tensors["blk0/q_proj"] = std::vector<float>(4096, 1.0F);
  RunBuilder one_off = large;
  one_off.tensors["blk0/q_proj"][77] = 1.1F;
  const trace::EngineRun oracle = large.build(folder_);
  const RoundingNoise noise(oracle, shaken(large, 1e-3F).build(folder_));
  const trace::EngineRun subject = one_off.build(folder_);
  const Arbitration result = arbitrate({{&subject}, {}}, oracle, noise);
  EXPECT_EQ(result.wrong(), Wrong::kSubject);
  EXPECT_THAT(result.reason, HasSubstr("one value is 0.1 times the tensor's RMS away"));
}

TEST_F(ArbitrationTest, NanIsWrong) {
  wrong_.tensors["blk1/out"][2] = std::numeric_limits<float>::quiet_NaN();
  const Arbitration result = arbitrate_runs(wrong_, right_);
  EXPECT_EQ(result.wrong(), Wrong::kSubject);
  EXPECT_THAT(result.reason, HasSubstr("it is not finite"));
}

// A decode step that was fed another token has another right answer.
TEST_F(ArbitrationTest, PassesWithOtherInputsAreLeftOut) {
  wrong_.generated_tokens = {1, 2};
  for (float& value : wrong_.tensors["t1/blk0/q_proj"]) {
    value = -value;
  }
  EXPECT_EQ(arbitrate_runs(wrong_, right_).wrong(), Wrong::kNeither);
  wrong_.teacher_tokens = {3};  // fed the oracle's token all the same
  EXPECT_EQ(arbitrate_runs(wrong_, right_).wrong(), Wrong::kSubject);
}

TEST_F(ArbitrationTest, LogitsAloneAreEnough) {
  wrong_.tensors.clear();
  wrong_.with_values = false;
  wrong_.logits[1] = {0, 1, -2, 3};
  RunBuilder oracle_run = RunBuilder::example();
  oracle_run.prompt_tokens = wrong_.prompt_tokens = {1};  // its record of the prompt's logits has one row
  oracle_run.logits.erase(oracle_run.logits.begin());
  wrong_.logits.erase(wrong_.logits.begin());
  const trace::EngineRun oracle = oracle_run.build(folder_);
  const RoundingNoise noise(oracle, shaken(oracle_run, 1e-3F).build(folder_));
  const trace::EngineRun subject = wrong_.build(folder_);
  const Arbitration result = arbitrate({{&subject}, {}}, oracle, noise);
  EXPECT_EQ(result.n_held.subject, 2U);
  ASSERT_TRUE(result.first_wrong.subject.prefill);
  EXPECT_EQ(result.first_wrong.subject.prefill->name(), "logits");
}

// Where a side has values, what it has inherited is no fault of its own.
TEST_F(ArbitrationTest, IsolationOutranksWhatWasInherited) {
  const trace::EngineRun oracle = RunBuilder::example().build(folder_);
  const RoundingNoise noise(oracle, shaken(RunBuilder::example(), 1e-3F).build(folder_));
  for (float& value : wrong_.tensors["blk0/q_proj"]) {
    value *= 2;
  }
  for (float& value : wrong_.tensors["blk1/out"]) {
    value *= -1;
  }
  const trace::EngineRun subject = wrong_.build(folder_);
  RunBuilder on_its_inputs = wrong_;
  on_its_inputs.tensors["blk0/q_proj"] = RunBuilder::example().tensors["blk0/q_proj"];
  const trace::EngineRun exact = on_its_inputs.build(folder_);
  const Isolation isolation(subject, exact, {});
  const Arbitration result = arbitrate({{&subject, &isolation}, {}}, oracle, noise);
  EXPECT_EQ(result.wrong(), Wrong::kSubject);
  EXPECT_EQ(result.first_wrong.subject.first()->name(), "blk0/q_proj");
  size_t n_wrong = 0;
  for (const StageArbitration& stage : result.stages) {
    n_wrong += stage.sides.subject.wrong;
  }
  EXPECT_EQ(n_wrong, 1U);
  EXPECT_THAT(result.reason, HasSubstr("what its own inputs should give differs from it by a relative error of 1, "));
}

TEST(TeacherForcing, TellsTiesFromErrors) {
  const test::TemporaryFolder folder;
  RunBuilder reference = RunBuilder::example();
  reference.arithmetic.clear();
  RunBuilder subject = reference;
  subject.teacher_tokens = {3};
  subject.generated_tokens = {2, 2};
  reference.logits[1] = {0, 1, 3, 3.0001F};
  subject.logits[1] = {0, 1, 3.0003F, 2.9998F};
  subject.tensors["logits"] = subject.logits[1];
  reference.tensors["logits"] = reference.logits[1];
  RunComparison c = compare_runs(subject.build(folder), reference.build(folder));
  EXPECT_EQ(c.verdict.kind, VerdictKind::kWithinTolerance) << c.verdict.reason;
  ASSERT_EQ(c.tokens.differences.size(), 1U);
  EXPECT_EQ(c.tokens.differences[0].kind, TokenDifferenceKind::kNearTie);
  EXPECT_NEAR(*c.tokens.differences[0].gap, 1e-4, 1e-6);
  EXPECT_EQ(c.coverage.tensors_compared, c.coverage.tensors_expected);  // what follows was fed the same token

  reference.logits[1] = {0, 1, 3, 3};
  reference.tensors["logits"] = reference.logits[1];
  c = compare_runs(subject.build(folder), reference.build(folder));
  EXPECT_EQ(c.tokens.differences.at(0).kind, TokenDifferenceKind::kExactTie);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kWithinTolerance) << c.verdict.reason;

  subject.generated_tokens = {1, 2};  // no logits prefer that one
  c = compare_runs(subject.build(folder), reference.build(folder));
  EXPECT_EQ(c.tokens.differences.at(0).kind, TokenDifferenceKind::kError);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged);
}

}  // namespace
}  // namespace tern::compare
