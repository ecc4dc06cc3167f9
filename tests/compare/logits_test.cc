// Logits of which a side recorded only the largest of each row and their log-sum-exp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "compare/run_builder.h"
#include "tern/compare/compare_runs.h"

namespace tern::compare {
namespace {

namespace fs = std::filesystem;
using test::RunBuilder;
using testing::HasSubstr;

class TopLogitsComparison : public testing::Test {
 protected:
  // A row for each of two prompt tokens and one decode step, 40 logits each: largest ids 7, 3, 2.
  TopLogitsComparison() : builder_(RunBuilder::example()) {
    builder_.logits.assign(3, std::vector<float>(40));
    for (size_t row = 0; row < 3; ++row) {
      for (size_t id = 0; id < 40; ++id) {
        builder_.logits[row][id] = -2 + 0.05F * static_cast<float>((id * 7 + row) % 40);
      }
    }
    builder_.logits[0][7] = 6;
    builder_.logits[1][3] = 5;
    builder_.logits[2][2] = 4;
    // The trace's own record of the logits must not decide these tests.
    builder_.tensors.erase("logits");
    builder_.tensors.erase("t1/logits");
  }

  trace::EngineRun full(const RunBuilder& builder) const { return builder.build(folder_); }
  trace::EngineRun top(const RunBuilder& builder, size_t k) const {
    const trace::EngineRun run = builder.build(folder_);
    EXPECT_TRUE(trace::write_top_logits(run.folder / trace::TopLogits::kFileName, *run.logits(), k, "test"));
    fs::remove(run.folder / "logits.safetensors");
    auto reduced = trace::read_run_folder(run.folder);
    EXPECT_TRUE(reduced && reduced->top_logits);
    return std::move(*reduced);
  }
  RunComparison compare(const trace::EngineRun& subject, const trace::EngineRun& reference, bool exact) const {
    CompareOptions options;
    options.exactness = exact ? Exactness::kExact : Exactness::kTolerant;
    return compare_runs(subject, reference, options);
  }

  test::TemporaryFolder folder_;
  RunBuilder builder_;
};

TEST_F(TopLogitsComparison, OfEqualRunsAreEqual) {
  const auto whole = full(builder_);
  const auto eight = top(builder_, 8);
  const auto three = top(builder_, 3);
  const auto one = top(builder_, 1);
  const auto all = top(builder_, 40);
  struct Pair {
    const trace::EngineRun &subject, &reference;
    size_t k;
  };
  for (const Pair& pair : {Pair{whole, eight, 8}, Pair{eight, whole, 8}, Pair{eight, eight, 8}, Pair{three, eight, 3},
                           Pair{eight, three, 3}, Pair{whole, one, 1}, Pair{whole, all, 40}}) {
    for (const bool exact : {true, false}) {
      const RunComparison c = compare(pair.subject, pair.reference, exact);
      EXPECT_EQ(c.verdict.kind, VerdictKind::kMatch) << c.verdict.reason;
      ASSERT_TRUE(c.logits);
      EXPECT_EQ(c.logits->entries_compared, pair.k);
      EXPECT_EQ(c.logits->vocab.subject, 40U);
      EXPECT_EQ(c.coverage.positions_compared, 3U);
      EXPECT_EQ(c.logits->max_log_sum_exp_difference, 0.0);
      for (const LogitsPosition& position : c.logits->positions) {
        EXPECT_EQ(position.status, TensorStatus::kHashEqual);
        EXPECT_EQ(position.metrics.n, pair.k);
        EXPECT_EQ(position.argmax.subject, position.argmax.reference);
        EXPECT_TRUE(position.note.empty());
      }
      EXPECT_EQ(c.logits->positions[0].argmax.reference, 7);
    }
  }
  EXPECT_TRUE(std::isnan(compare(whole, one, true).logits->positions[0].reference_margin)) << "no second best recorded";
  const auto eight_rows = compare(whole, eight, true).logits->positions;
  const auto whole_rows = compare(whole, whole, true).logits->positions;
  EXPECT_EQ(eight_rows[1].reference_margin, whole_rows[1].reference_margin);
  EXPECT_FALSE(whole_rows[1].log_sum_exp_difference) << "only where something was left out";
}

TEST_F(TopLogitsComparison, AChangeAmongTheLargestIsSeen) {
  const auto reference = top(builder_, 8);
  builder_.logits[1][3] += 0.001F;
  const auto subject = full(builder_);
  const RunComparison exact = compare(subject, reference, true);
  EXPECT_EQ(exact.verdict.kind, VerdictKind::kDiverged);
  EXPECT_THAT(exact.verdict.reason, HasSubstr("logits of row 1"));
  EXPECT_THAT(exact.verdict.reason, HasSubstr("among 8 logits"));
  ASSERT_TRUE(exact.first_divergence);
  EXPECT_EQ(exact.logits->positions[0].status, TensorStatus::kHashEqual);
  EXPECT_NEAR(exact.logits->positions[1].metrics.max_abs, 0.001, 1e-6);
  EXPECT_EQ(exact.logits->positions[1].metrics.max_abs_index, 3U);
  EXPECT_EQ(exact.logits->positions[1].metrics.n_different, 1U);
  const RunComparison tolerant = compare(subject, reference, false);
  EXPECT_EQ(tolerant.verdict.kind, VerdictKind::kWithinTolerance) << tolerant.verdict.reason;
  EXPECT_EQ(tolerant.logits->positions[1].status, TensorStatus::kWithinTolerance);
}

// Ids 20 and 21 are not among the eight largest, before or after.
TEST_F(TopLogitsComparison, AChangeOfTheOthersIsSeenByTheLogSumExpAlone) {
  const auto reference = top(builder_, 8);
  builder_.logits[2][20] -= 0.1F;
  const RunComparison exact = compare(full(builder_), reference, true);
  EXPECT_EQ(exact.verdict.kind, VerdictKind::kDiverged);
  const LogitsPosition& position = exact.logits->positions[2];
  EXPECT_EQ(position.status, TensorStatus::kDiverged);
  EXPECT_EQ(position.metrics.n_different, 0U);
  ASSERT_TRUE(position.log_sum_exp_difference);
  EXPECT_LT(*position.log_sum_exp_difference, 0);
  EXPECT_THAT(exact.verdict.reason, HasSubstr("the log-sum-exp of the whole row differs by -"));
  EXPECT_EQ(compare(full(builder_), reference, false).verdict.kind, VerdictKind::kWithinTolerance);
  // Both sides recorded the largest only: the same.
  EXPECT_EQ(compare(top(builder_, 8), reference, true).verdict.kind, VerdictKind::kDiverged);
}

TEST_F(TopLogitsComparison, TheLogSumExpHasABound) {
  // A flat row, where what is left out weighs most: the one largest stays, all others sink or rise.
  builder_.logits[1].assign(40, 4.0F);
  builder_.logits[1][3] = 5;
  const auto reference = top(builder_, 1);
  const auto with_others_at = [&](float value) {
    RunBuilder changed = builder_;
    for (size_t id = 0; id < 40; ++id) {
      changed.logits[1][id] = id == 3 ? 5.0F : value;
    }
    return compare(full(changed), reference, false);
  };
  EXPECT_EQ(with_others_at(3.7F).verdict.kind, VerdictKind::kWithinTolerance);
  const RunComparison off = with_others_at(3.0F);
  EXPECT_EQ(off.verdict.kind, VerdictKind::kDiverged) << off.verdict.reason;
  EXPECT_THAT(off.verdict.reason, HasSubstr("a log-sum-exp within 0.5"));
  EXPECT_GT(*off.logits->max_log_sum_exp_difference, 0.5);
}

// Far below the largest, float32's log-sum-exp does not show it; the list of ids does.
TEST_F(TopLogitsComparison, AnIdThatJoinsTheLargestIsSeen) {
  for (auto& row : builder_.logits) {
    row[7] += 100;
    row[3] += 80;
    row[2] += 100.5F;
  }
  const auto reference = top(builder_, 8);
  builder_.logits[0][20] = 30;
  const auto subject = full(builder_);
  const RunComparison exact = compare(subject, reference, true);
  EXPECT_EQ(exact.logits->positions[0].log_sum_exp_difference, 0.0);
  EXPECT_EQ(exact.logits->positions[0].status, TensorStatus::kDiverged);
  EXPECT_EQ(exact.logits->positions[1].status, TensorStatus::kHashEqual);
  EXPECT_EQ(exact.logits->positions[0].metrics.max_abs_index, 20U);
  EXPECT_GT(exact.logits->positions[0].metrics.max_abs, 25) << "at least what the smallest recorded one leaves";
  EXPECT_EQ(exact.logits->entries_compared, 8U);
}

TEST_F(TopLogitsComparison, AnotherLargestIsSeen) {
  const auto reference = top(builder_, 8);
  builder_.logits[0][20] = 9;
  for (const auto& subject : {full(builder_), top(builder_, 8)}) {
    for (const bool exact : {true, false}) {
      const RunComparison c = compare(subject, reference, exact);
      EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged) << c.verdict.reason;
      EXPECT_EQ(c.logits->positions[0].argmax.subject, 20);
      EXPECT_EQ(c.logits->positions[0].argmax.reference, 7);
      EXPECT_EQ(c.logits->entries_compared, subject.top_logits ? 7U : 8U);
    }
  }
}

TEST_F(TopLogitsComparison, NotFiniteAgainstARecordingDiverges) {
  const auto reference = top(builder_, 8);
  builder_.logits[1][30] = std::numeric_limits<float>::quiet_NaN();
  const auto subject = full(builder_);
  for (const auto& c : {compare(subject, reference, false), compare(reference, subject, false)}) {
    EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged);
    EXPECT_EQ(c.logits->positions[1].status, TensorStatus::kDiverged);
    EXPECT_EQ(c.logits->positions[1].note, "a logit is NaN or infinite");
  }
}

TEST_F(TopLogitsComparison, ZerosOnBothSidesProveNothing) {
  builder_.logits.assign(3, std::vector<float>(40, 0.0F));
  const auto zeros = top(builder_, 8);
  EXPECT_EQ(compare(full(builder_), zeros, true).verdict.kind, VerdictKind::kMistrusted);
  EXPECT_EQ(compare(zeros, zeros, true).verdict.kind, VerdictKind::kMistrusted);
  // Eight zeros at the top of a row that is not zero.
  for (auto& row : builder_.logits) {
    std::fill(row.begin() + 8, row.end(), -1.0F);
  }
  const auto not_all = top(builder_, 8);
  EXPECT_NE(compare(not_all, not_all, true).verdict.kind, VerdictKind::kMistrusted);
}

TEST_F(TopLogitsComparison, OtherVocabulariesAreNotCompared) {
  const auto reference = top(builder_, 8);
  for (auto& row : builder_.logits) {
    row.push_back(-3);
  }
  const RunComparison c = compare(full(builder_), reference, false);
  EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged);
  EXPECT_EQ(c.logits->entries_compared, 0U);
  EXPECT_THAT(c.verdict.reason, HasSubstr("41 entries a row, the reference's 40"));
}

}  // namespace
}  // namespace tern::compare
