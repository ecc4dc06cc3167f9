// The judgement of two runs, here by engines that answer from prepared runs.
#include "tern/arbiter/judgement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "compare/run_builder.h"

namespace tern::arbiter {
namespace {

using compare::VerdictKind;
using compare::Wrong;
using test::RunBuilder;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// An oracle that has one answer, whatever it is asked.
class Prepared final : public peer::Peer {
 public:
  Prepared(RunBuilder run, const test::TemporaryFolder& folder) : run_(std::move(run)), folder_(folder) {}
  peer::Abilities abilities() const override { return {}; }
  Result<peer::PeerRun> run(const peer::RunRequest&) const override {
    peer::PeerRun run;
    run.run = run_.build(folder_);
    return run;
  }

 private:
  RunBuilder run_;
  const test::TemporaryFolder& folder_;
};

// The same, and what it was last asked.
class Asked final : public peer::Peer {
 public:
  Asked(const peer::Peer& engine, peer::RunRequest& last) : engine_(engine), last_(last) {}
  peer::Abilities abilities() const override { return engine_.abilities(); }
  Result<peer::PeerRun> run(const peer::RunRequest& request) const override {
    last_ = request;
    return engine_.run(request);
  }

 private:
  const peer::Peer& engine_;
  peer::RunRequest& last_;
};

class JudgementTest : public testing::Test {
 protected:
  JudgementTest() {
    RunBuilder rounded = RunBuilder::example();
    for (auto& [name, values] : rounded.tensors) {
      for (float& value : values) {
        value *= 1.001F;
      }
    }
    oracle_.plain = std::make_unique<Prepared>(RunBuilder::example(), folder_);
    oracle_.rounded = std::make_unique<Prepared>(rounded, folder_);
    wrong_.tensors["blk1/q_proj"][0] += 3;
    wrong_.arithmetic = "";  // held to tolerances
  }
  Judgement judged(const RunBuilder& subject, const std::optional<RunBuilder>& reference, bool ask_oracle,
                   const std::string& distrust = "") {
    const trace::EngineRun a = subject.build(folder_);
    std::optional<trace::EngineRun> b;
    if (reference) {
      b = reference->build(folder_);
    }
    const RunsToJudge runs{.subject = &a, .reference = b ? &*b : nullptr};
    const JudgeOptions options{.compare = {},
                               .oracle = ask_oracle ? &oracle_ : nullptr,
                               .why_no_oracle = ask_oracle ? "" : "nobody wants it",
                               .distrust = distrust,
                               .on_oracle = {}};
    auto judgement = judge(runs, question_about({}, folder_.path(), runs), options);
    EXPECT_TRUE(judgement) << judgement.error().line();
    return judgement ? std::move(*judgement) : Judgement();
  }

  test::TemporaryFolder folder_;
  OracleEngines oracle_;
  RunBuilder right_ = RunBuilder::example(), wrong_ = RunBuilder::example();
};

TEST_F(JudgementTest, EqualRunsMatch) {
  const Judgement judgement = judged(right_, right_, true);
  EXPECT_EQ(judgement.verdict(), VerdictKind::kMatch);
  EXPECT_THAT(judgement.reason(), HasSubstr("tensors are equal bit for bit"));
  EXPECT_EQ(judgement.arbitration->wrong(), Wrong::kNeither);
  EXPECT_FALSE(judgement.comparison->first_divergence);
}

TEST_F(JudgementTest, ADifferenceIsOneWhicheverSideIsWrong) {
  for (const bool subject_is_wrong : {true, false}) {
    const Judgement judgement = judged(subject_is_wrong ? wrong_ : right_, subject_is_wrong ? right_ : wrong_, true);
    EXPECT_EQ(judgement.verdict(), VerdictKind::kDiverged);
    EXPECT_EQ(judgement.arbitration->wrong(), subject_is_wrong ? Wrong::kSubject : Wrong::kReference);
    EXPECT_EQ(judgement.comparison->verdict.kind, VerdictKind::kDiverged);
    EXPECT_EQ(judgement.comparison->verdict.reason, judgement.reason());
    EXPECT_EQ(judgement.comparison->first_divergence->name(), "blk1/q_proj");
    EXPECT_THAT(judgement.reason(), HasSubstr("; held against each other: blk1/q_proj is the"));
  }
}

// The oracle has no such stage, and the order of ids has it behind the known ones of its layer.
TEST_F(JudgementTest, AnUnknownStageThatRanBeforeAWrongOneIsTheFirstDivergence) {
  RunBuilder right = right_;
  right.tensors["blk1/norm-of-rows"] = {1, 2};
  right.order = {"embeddings", "blk1/norm-of-rows"};
  RunBuilder wrong = right;
  wrong.arithmetic = "";
  wrong.tensors["blk1/norm-of-rows"][0] += 1;
  wrong.tensors["blk1/q_proj"][0] += 3;
  const Judgement judgement = judged(wrong, right, true);
  EXPECT_EQ(judgement.arbitration->first_wrong_tensor()->name(), "blk1/q_proj");
  EXPECT_EQ(judgement.comparison->first_divergence->name(), "blk1/norm-of-rows");
}

TEST_F(JudgementTest, TwoSidesThatAreWrongAlikeHaveDiverged) {
  const Judgement judgement = judged(wrong_, wrong_, true);
  EXPECT_EQ(judgement.verdict(), VerdictKind::kDiverged);
  EXPECT_EQ(judgement.arbitration->wrong(), Wrong::kBoth);
  EXPECT_EQ(judgement.comparison->first_divergence->name(), "blk1/q_proj");
}

// The place is the earlier one, and so is what the cause is looked for at. Nothing explains it here: what was measured
// is there all the same.
TEST_F(JudgementTest, OfTwoWrongSidesTheCauseIsOfTheOneThatIsWrongFirst) {
  RunBuilder early = right_, late = right_;
  early.arithmetic = late.arithmetic = "";
  early.tensors["blk0/q_proj"][2] += 3;
  late.tensors["blk1/down_proj"][1] -= 2;
  for (const bool subject_is_first : {true, false}) {
    const Judgement judgement = judged(subject_is_first ? early : late, subject_is_first ? late : early, true);
    EXPECT_EQ(judgement.arbitration->wrong(), Wrong::kBoth);
    EXPECT_EQ(judgement.comparison->first_divergence->name(), "blk0/q_proj");
    ASSERT_TRUE(judgement.cause);
    EXPECT_EQ(judgement.cause->name, "blk0/q_proj");
    EXPECT_EQ(judgement.cause->side, subject_is_first ? compare::Side::kSubject : compare::Side::kReference);
    EXPECT_EQ(judgement.cause->id, "unknown");
    EXPECT_EQ(judgement.cause->confidence, 0);
    const Json& measured = judgement.cause->parameters;
    EXPECT_EQ(measured["wrong_outputs"], Json::array({2})) << measured;
    EXPECT_EQ(measured["n_wrong_outputs"], 1);
    EXPECT_EQ(measured["n_outputs"], 4);
    EXPECT_GT(measured["rms"].get<double>(), measured["expected"].get<double>());
    EXPECT_THAT(judgement.cause->evidence, HasSubstr("1 of its 4 outputs are wrong, the first is 2"));
  }
}

// Both sides agree within their tolerance, and the oracle finds an error on one that rounding does not explain.
TEST_F(JudgementTest, AnErrorInsideTheToleranceHasDivergedWhicheverSideHasIt) {
  RunBuilder off = RunBuilder::example();
  off.arithmetic = "";
  for (float& value : off.tensors["blk1/q_proj"]) {
    value *= 1.006F;  // rounding explains 4 times 0.1 %; between two sides it may be twice that
  }
  for (const bool subject_is_wrong : {true, false}) {
    const Judgement judgement = judged(subject_is_wrong ? off : right_, subject_is_wrong ? right_ : off, true);
    EXPECT_THAT(judgement.reason(), HasSubstr("within tolerance"));
    EXPECT_EQ(judgement.verdict(), VerdictKind::kDiverged);
    EXPECT_EQ(judgement.arbitration->wrong(), subject_is_wrong ? Wrong::kSubject : Wrong::kReference);
    EXPECT_EQ(judgement.comparison->first_divergence->name(), "blk1/q_proj");
  }
}

// What the reference recorded is judged by its own inputs, though the subject has hashes and RMS only; the logits,
// where the two differ most, are not the place.
TEST_F(JudgementTest, ThePlaceIsTheFirstWrongTensorWithoutValuesOnTheOtherSide) {
  RunBuilder subject = right_, reference = right_;
  subject.with_values = false;
  subject.logits.clear();
  reference.arithmetic = subject.arithmetic = "";
  for (float& value : reference.tensors["blk0/down_proj"]) {
    value *= 1.006F;
  }
  reference.tensors["logits"] = {3, 1, 2, 0};
  const Judgement judgement = judged(subject, reference, true);
  EXPECT_EQ(judgement.verdict(), VerdictKind::kDiverged);
  EXPECT_EQ(judgement.arbitration->wrong(), Wrong::kReference);
  EXPECT_EQ(judgement.comparison->first_divergence->name(), "blk0/down_proj");
}

// What both sides computed is known as long as their hashes agree.
TEST_F(JudgementTest, TheOracleGoesOnFromWhereTheHashesPart) {
  peer::RunRequest last{peer::RunSetting()};
  const auto prepared = std::move(oracle_.plain);
  oracle_.plain = std::make_unique<Asked>(*prepared, last);
  RunBuilder subject = wrong_;
  subject.with_values = false;
  (void)judged(subject, right_, true);  // the reference's values were the last to be asked for: all of them
  EXPECT_FALSE(last.inputs_from.empty());
  EXPECT_EQ(last.inputs_before, "");
  RunBuilder reference = right_;
  reference.with_values = false;
  reference.logits.clear();
  subject.logits.clear();
  (void)judged(subject, reference, true);  // nobody has values
  EXPECT_TRUE(last.inputs_from.empty());
  std::string first_asked;
  oracle_.estimate = [&](const WrongSide& wrong, Json&) -> Result<std::optional<outcome::Cause>> {
    first_asked = wrong.question.inputs_before;
    return std::nullopt;
  };
  (void)judged(subject, right_, true);
  EXPECT_EQ(first_asked, "blk1/q_proj");
}

// A cause by RMS may begin before the tensor that shows it; a cause of little confidence moves nothing.
TEST_F(JudgementTest, ThePlaceIsWhereAMeasuredCauseBegins) {
  RunBuilder subject = right_;
  subject.with_values = false;
  subject.logits.clear();
  subject.arithmetic = "";
  subject.tensors["blk1/out"][0] += 3;
  double confidence = 0.7;
  oracle_.estimate = [&](const WrongSide&, Json&) -> Result<std::optional<outcome::Cause>> {
    return outcome::Cause{"weight_sign", "blk1/k_proj", confidence, "it fits"};
  };
  Judgement judgement = judged(subject, right_, true);
  EXPECT_EQ(judgement.comparison->first_divergence->name(), "blk1/k_proj");
  EXPECT_EQ(judgement.arbitration->first_wrong.subject.first()->name(), "blk1/k_proj");
  EXPECT_THAT(judgement.reason(),
              HasSubstr("the subject is wrong from blk1/k_proj on (prefill, layer 1): weight_sign is "
                        "the cause, and its place; it shows at blk1/out: "));
  confidence = 0.1;
  judgement = judged(subject, right_, true);
  EXPECT_EQ(judgement.comparison->first_divergence->name(), "blk1/out");
}

// The hashes part where the RMS is still equal. What is known of the cause is of the tensor that it names.
TEST_F(JudgementTest, TheFiguresOfAnUnknownCauseAreOfItsPlace) {
  RunBuilder subject = right_;
  subject.with_values = false;
  subject.logits.clear();
  subject.arithmetic = "";
  std::vector<float>& permuted = subject.tensors["blk1/q_proj"];
  std::reverse(permuted.begin(), permuted.end());
  subject.tensors["blk1/out"][0] += 3;
  const Judgement judgement = judged(subject, right_, true);
  ASSERT_TRUE(judgement.cause);
  EXPECT_EQ(judgement.cause->id, "unknown");
  EXPECT_EQ(judgement.cause->name, "blk1/q_proj");
  const Json& measured = judgement.cause->parameters;
  EXPECT_NEAR(measured["rms"].get<double>(), measured["expected"].get<double>(), 1e-9);
  EXPECT_THAT(judgement.cause->evidence, HasSubstr("; it shows in blk1/out, whose RMS is "));
}

// The two sides state one arithmetic, and neither has values.
class JudgementByHash : public JudgementTest {
 protected:
  JudgementByHash() {
    right_.with_values = false;
    right_.logits.clear();
    wrong_ = right_;
    std::vector<float>& permuted = wrong_.tensors["blk0/q_proj"];
    std::reverse(permuted.begin(), permuted.end());
  }
};

// Nothing before the place is the cause, whatever would explain the figures as well.
TEST_F(JudgementByHash, TheFirstHashThatDiffersIsThePlaceAndTheCauseIsThere) {
  wrong_.tensors["blk1/out"][0] += 3;
  Judgement judgement = judged(wrong_, right_, true);
  EXPECT_EQ(judgement.verdict(), VerdictKind::kDiverged);
  EXPECT_EQ(judgement.arbitration->wrong(), Wrong::kSubject);
  EXPECT_EQ(judgement.arbitration->first_wrong.subject.first()->name(), "blk0/q_proj");
  EXPECT_EQ(judgement.comparison->first_divergence->name(), "blk0/q_proj");
  ASSERT_TRUE(judgement.cause);
  EXPECT_EQ(judgement.cause->name, "blk0/q_proj");
  bool is_told = false;
  oracle_.estimate = [&](const WrongSide& wrong, Json&) -> Result<std::optional<outcome::Cause>> {
    is_told = wrong.arbitration.first_wrong.subject.has_equal_inputs;
    return outcome::Cause{"norm_weight", "blk0/attn_norm", 0.7, "it fits, too"};
  };
  judgement = judged(right_, wrong_, true);
  EXPECT_TRUE(is_told);
  EXPECT_EQ(judgement.arbitration->wrong(), Wrong::kReference);
  EXPECT_EQ(judgement.arbitration->first_wrong.reference.first()->name(), "blk0/q_proj");
  EXPECT_EQ(judgement.comparison->first_divergence->name(), "blk0/q_proj");
}

TEST_F(JudgementByHash, WhereRmsShowsNothingTheSideIsNotKnown) {
  Judgement judgement = judged(wrong_, right_, true);
  EXPECT_EQ(judgement.verdict(), VerdictKind::kDiverged);
  EXPECT_EQ(judgement.arbitration->wrong(), Wrong::kUnknown);
  EXPECT_EQ(judgement.comparison->first_divergence->name(), "blk0/q_proj");
  EXPECT_THAT(judgement.reason(), HasSubstr("which one is not known"));
  EXPECT_THAT(judgement.reason(), Not(HasSubstr("within rounding")));
  ASSERT_TRUE(judgement.cause);
  EXPECT_EQ(judgement.cause->id, "unknown");
  EXPECT_EQ(judgement.cause->name, "blk0/q_proj");
  EXPECT_FALSE(judgement.cause->side);
  const Json& measured = judgement.cause->parameters;
  EXPECT_NEAR(measured["subject_rms"].get<double>(), measured["reference_rms"].get<double>(), 1e-6);
  wrong_.arithmetic = "another";  // then the hashes prove nothing
  judgement = judged(wrong_, right_, true);
  EXPECT_EQ(judgement.arbitration->wrong(), Wrong::kNeither);
  EXPECT_NE(judgement.verdict(), VerdictKind::kDiverged);
}

// An RMS that is off by less than what is inherited, held to the tensor's own rounding: a fault that changes nothing
// does not explain it.
TEST_F(JudgementTest, AFaultThatChangesNothingIsNoCause) {
  RunBuilder subject = right_;
  subject.with_values = false;
  subject.logits.clear();
  subject.arithmetic = "";
  for (float& value : subject.tensors["blk1/k_proj"]) {
    value *= 1.0001F;
  }
  oracle_.faults.push_back({"idle",
                            "cause_of_idle",
                            {trace::Stage::kKProj},
                            {},
                            std::make_unique<Prepared>(RunBuilder::example(), folder_)});
  const Judgement judgement = judged(subject, right_, true);
  EXPECT_EQ(judgement.arbitration->wrong(), Wrong::kSubject);
  EXPECT_EQ(judgement.comparison->first_divergence->name(), "blk1/k_proj");
  ASSERT_TRUE(judgement.cause);
  EXPECT_EQ(judgement.cause->id, "unknown") << judgement.cause->evidence;
}

// What was tried is for programs; what a listed fault leaves wrong is listed.
TEST_F(JudgementTest, WhatWasTriedAndWhatIsLeftWrongIsListed) {
  wrong_ = right_;
  wrong_.tensors["blk0/q_proj"][0] += 3;
  RunBuilder faulty = RunBuilder::example();
  faulty.tensors["blk0/q_proj"][0] += 3;
  const auto add_fault = [&](const std::string& name, trace::Stage changes) {
    oracle_.faults.push_back({name, "cause_of_" + name, {changes}, {}, std::make_unique<Prepared>(faulty, folder_)});
  };
  add_fault("wrapping", trace::Stage::kQProj);
  add_fault("melting", trace::Stage::kOut);
  wrong_.tensors["blk1/out"][0] += 3;
  Judgement judgement = judged(wrong_, right_, true);
  ASSERT_TRUE(judgement.cause);
  EXPECT_EQ(judgement.cause->id, "cause_of_wrapping");
  EXPECT_EQ(judgement.cause->unexplained, std::vector<std::string>{"blk1/out"});
  EXPECT_THAT(judgement.cause->evidence, Not(HasSubstr("melting")));
  const auto names_of = [](const Json& tried) {
    std::vector<std::string> names;
    for (const Json& fault : tried) {
      names.push_back(fault["fault"].get<std::string>() + (fault["is_ruled_out_by_what_is_right"] ? " no" : ""));
    }
    return names;
  };
  EXPECT_THAT(names_of(judgement.cause->tried), testing::ElementsAre("wrapping", "melting no"));
  wrong_.tensors["blk0/q_proj"][1] += 3;
  judgement = judged(wrong_, right_, true);
  EXPECT_EQ(judgement.cause->id, "unknown");
  EXPECT_THAT(judgement.cause->evidence, Not(HasSubstr("wrapping")));
  EXPECT_THAT(names_of(judgement.cause->tried), testing::ElementsAre("wrapping", "melting no"));
}

// Nothing turns the token at position 0: that it is right is no pattern.
TEST_F(JudgementTest, TheFirstTokenBehindRopeTellsNothing) {
  const auto evidence = [&](const std::string& stage, size_t first_wrong) {
    RunBuilder right = RunBuilder::example();
    right.tensors["blk0/" + stage] = {1, 2, 3, -1, 2, 1, 4, -3};
    right.n_rows["blk0/" + stage] = 4;
    RunBuilder rounded = right, wrong = right;
    rounded.tensors["blk0/" + stage][0] *= 1.001F;
    for (size_t token = first_wrong; token < 4; ++token) {
      wrong.tensors["blk0/" + stage][2 * token + 1] -= 7;
    }
    wrong.arithmetic = "";
    oracle_.plain = std::make_unique<Prepared>(right, folder_);
    oracle_.rounded = std::make_unique<Prepared>(rounded, folder_);
    const Judgement judgement = judged(wrong, right, true);
    EXPECT_TRUE(judgement.cause);
    EXPECT_EQ(judgement.comparison->first_divergence->name(), "blk0/" + stage);
    return judgement.cause ? judgement.cause->evidence : std::string();
  };
  const auto names_tokens = HasSubstr("are wrong: the tail of the batch");
  EXPECT_THAT(evidence("q_rope", 1), Not(names_tokens));
  EXPECT_THAT(evidence("q_rope", 2), names_tokens);
  EXPECT_THAT(evidence("q_proj", 1), names_tokens);
}

TEST_F(JudgementTest, ADifferenceIsProvedAlsoAgainstAReferenceThatFailedItsChecks) {
  const Judgement judgement = judged(wrong_, right_, false, "it fails");
  EXPECT_EQ(judgement.verdict(), VerdictKind::kDiverged);
}

TEST_F(JudgementTest, ASideOfWhichNothingWasHeldIsNotCalledRight) {
  RunBuilder elsewhere = right_;
  elsewhere.prompt_tokens = {1, 1};
  elsewhere.arithmetic = "";
  const Judgement judgement = judged(elsewhere, right_, true);
  EXPECT_EQ(judgement.verdict(), VerdictKind::kDiverged);
  EXPECT_FALSE(judgement.comparison->first_divergence);
  EXPECT_THAT(judgement.arbitration->reason, HasSubstr("the reference is within rounding"));
  EXPECT_THAT(judgement.arbitration->reason, HasSubstr("nothing of the subject could be held"));
}

TEST_F(JudgementTest, WithoutAReferenceTheOracleDecides) {
  EXPECT_EQ(judged(right_, std::nullopt, true).verdict(), std::nullopt);
  EXPECT_EQ(judged(wrong_, std::nullopt, true).verdict(), VerdictKind::kDiverged);
  EXPECT_EQ(judged(wrong_, std::nullopt, false).verdict(), std::nullopt);
  EXPECT_EQ(judged(wrong_, std::nullopt, false).no_arbitration, "nobody wants it");
}

TEST_F(JudgementTest, DistrustInTheReferenceChangesTheVerdictButNotTheComparison) {
  const Judgement judgement = judged(right_, right_, false, "the reference fails its check");
  EXPECT_EQ(judgement.verdict(), VerdictKind::kMistrusted);
  EXPECT_THAT(judgement.reason(), StartsWith("the reference fails its check; held against it all the same: "));
  EXPECT_EQ(judgement.comparison->verdict.kind, VerdictKind::kMatch);
  EXPECT_EQ(judged(wrong_, right_, true, "it fails").verdict(), VerdictKind::kDiverged) << "by the oracle";
}

TEST_F(JudgementTest, ACloseLookThatFindsNothingIsNoted) {
  RunBuilder rounded = right_;
  for (auto& [name, values] : rounded.tensors) {
    values[0] *= 1.001F;
  }
  oracle_.float32.push_back(std::make_unique<Prepared>(rounded, folder_));
  Judgement judgement = judged(wrong_, right_, false);
  const trace::EngineRun right = right_.build(folder_);
  const RunsToJudge runs{.subject = &right, .reference = &right};
  Question question = question_about({}, folder_.path(), runs);
  question.around = "blk0/out";
  question.inputs_from = right.folder;
  ASSERT_TRUE(judgement.arbitrate(oracle_, question, runs));
  EXPECT_EQ(judgement.verdict(), VerdictKind::kDiverged);
  EXPECT_THAT(judgement.comparison->notes, testing::Contains(HasSubstr("blk0/out shows neither side wrong")));
}

TEST_F(JudgementTest, NanWithoutAReferenceIsNoPass) {
  right_.tensors["blk0/q_proj"][0] = std::numeric_limits<float>::quiet_NaN();
  const Judgement judgement = judged(right_, std::nullopt, false);
  EXPECT_EQ(judgement.verdict(), VerdictKind::kMistrusted);
  EXPECT_THAT(judgement.reason(), HasSubstr("blk0/q_proj is the first of 1 tensors"));
}

}  // namespace
}  // namespace tern::arbiter
