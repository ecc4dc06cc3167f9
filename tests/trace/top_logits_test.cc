#include "tern/trace/top_logits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/paths.h"
#include "tern/trace/run_folder.h"

namespace tern::trace {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A file as the writer would make it, before a test changes something.
struct RawTop {
  std::vector<int64_t> ids_shape = {2, 3}, logits_shape = {2, 3}, sums_shape = {2};
  std::vector<int32_t> ids = {4, 0, 2, 1, 3, 0};
  std::vector<float> logits = {3, 2, 2, 5, 1, 0.5F};
  std::vector<float> sums = {3.7F, 5.04F};
  std::string vocab = "6";

  Result<TopLogits> open(const fs::path& path) const {
    auto writer = SafetensorsWriter::create(path, SafetensorsWriter::header_bytes(4));
    EXPECT_TRUE(writer);
    if (!vocab.empty()) {
      writer->add_metadata("vocab", vocab);
    }
    EXPECT_TRUE(writer->add_integers("ids", ids_shape, ids) && writer->add("logits", logits_shape, logits) &&
                writer->add("log_sum_exp", sums_shape, sums) && writer->finish());
    return TopLogits::open(path);
  }
};

class TopLogitsTest : public testing::Test {
 protected:
  fs::path path() const { return folder_.path() / TopLogits::kFileName; }
  test::TemporaryFolder folder_;
};

TEST_F(TopLogitsTest, KeepsTheLargestAndTheSumOfAll) {
  const std::vector<float> values = {0, 7, -1, 7, 2, /**/ -5, -5, -5, -5, -4};
  ASSERT_TRUE(write_top_logits(path(), {{2, 5}, values}, 3, "test"));
  const auto top = TopLogits::open(path());
  ASSERT_TRUE(top) << top.error().line();
  EXPECT_EQ(top->n_rows(), 2U);
  EXPECT_EQ(top->k(), 3U);
  EXPECT_EQ(top->vocab(), 5U);
  EXPECT_THAT(top->row(0).ids, ElementsAre(1, 3, 4));  // of equal ones the lower id first
  EXPECT_THAT(top->row(0).logits, ElementsAre(7, 7, 2));
  EXPECT_THAT(top->row(1).ids, ElementsAre(4, 0, 1));  // also where some equal ones are cut off
  EXPECT_FLOAT_EQ(top->row(0).log_sum_exp, 7 + std::log(2 + std::exp(-5.F) + std::exp(-7.F) + std::exp(-8.F)));
  EXPECT_FLOAT_EQ(top->row(1).log_sum_exp, -4 + std::log(1 + 4 * std::exp(-1.F)));
}

TEST_F(TopLogitsTest, AllOfARowAndJustOneAreTops) {
  const std::vector<float> values = {1, 3, 2};
  for (const size_t k : {1U, 3U}) {
    ASSERT_TRUE(write_top_logits(path(), {{1, 3}, values}, k, "test"));
    const auto top = TopLogits::open(path());
    ASSERT_TRUE(top) << top.error().line();
    EXPECT_EQ(top->row(0).ids.size(), k);
    EXPECT_EQ(top->row(0).ids.front(), 1);
  }
  EXPECT_FALSE(write_top_logits(path(), {{1, 3}, values}, 0, "test"));
  const auto too_many = write_top_logits(path(), {{1, 3}, values}, 4, "test");
  ASSERT_FALSE(too_many);
  EXPECT_THAT(too_many.error().line(), HasSubstr("has 3 logits in a row, so their 4 largest cannot be kept"));
}

TEST_F(TopLogitsTest, LargeLogitsDoNotOverflow) {
  const std::vector<float> values = {3e38F, 3e38F, -3e38F};
  EXPECT_DOUBLE_EQ(log_sum_exp(values), static_cast<double>(3e38F) + std::log(2));
  ASSERT_TRUE(write_top_logits(path(), {{1, 3}, values}, 2, "test"));
  EXPECT_TRUE(TopLogits::open(path()));
}

TEST_F(TopLogitsTest, NotFiniteHasNoOrder) {
  for (const float value : {std::nanf(""), kInfinity, -kInfinity}) {
    const std::vector<float> values = {1, 2, 3, value};
    const auto written = write_top_logits(path(), {{2, 2}, values}, 1, "logits of x");
    ASSERT_FALSE(written);
    EXPECT_THAT(written.error().line(), HasSubstr("logits of x row 1: a logit is NaN or infinite"));
    EXPECT_FALSE(fs::exists(path()));
  }
}

TEST_F(TopLogitsTest, EveryRecordingCanBeReduced) {
  size_t n_rows = 0;
  for (const auto& golden : test::golden_cases()) {
    const auto run = read_run_folder(golden.folder);
    ASSERT_TRUE(run);
    ASSERT_TRUE(write_top_logits(path(), *run->logits(), 16, "test"));
    const auto top = TopLogits::open(path());
    ASSERT_TRUE(top) << golden.folder << ": " << top.error().line();
    n_rows += top->n_rows();
  }
  EXPECT_GT(n_rows, 100U);
}

struct Damage {
  const char* name;
  void (*apply)(RawTop&);
  const char* expected;
};

TEST_F(TopLogitsTest, ContradictionsAreErrors) {
  ASSERT_TRUE(RawTop().open(path())) << RawTop().open(path()).error().line();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<Damage> cases = {
      {"id too large", [](RawTop& t) { t.ids[5] = 6; }, "row 1: id 6 is none of a vocabulary of 6"},
      {"negative id", [](RawTop& t) { t.ids[0] = -1; }, "row 0: id -1"},
      {"id twice", [](RawTop& t) { t.ids[1] = 4; }, "row 0: id 4 stands twice"},
      {"wrong order", [](RawTop& t) { std::swap(t.logits[3], t.logits[4]); }, "row 1: entries 0 and 1 are not in"},
      {"tie with the higher id first", [](RawTop& t) { std::swap(t.ids[1], t.ids[2]); }, "row 0: entries 1 and 2"},
      {"NaN", [](RawTop& t) { t.logits[1] = kNan; }, "row 0: a value is NaN"},
      {"infinite sum", [](RawTop& t) { t.sums[1] = kInfinity; }, "row 1: a value is NaN or infinite"},
      {"sum below the largest", [](RawTop& t) { t.sums[0] = 2.9F; }, "row 0: the log-sum-exp is 2.9"},
      {"sum below that of the kept", [](RawTop& t) { t.sums[0] = 3.5F; }, "row 0: the log-sum-exp is 3.5"},
      {"sum above what is left allows", [](RawTop& t) { t.sums[1] = 5.2F; }, "row 1: the log-sum-exp is 5.2"},
      {"other shape", [](RawTop& t) { t.logits_shape = {3, 2}; }, "are not [positions, k]"},
      {"three dimensions", [](RawTop& t) { t.ids_shape = t.logits_shape = {1, 2, 3}; }, "are not [positions, k]"},
      {"sums of other rows", [](RawTop& t) { t.sums_shape = {2, 1}; }, "are not [positions, k]"},
      {"k above the vocabulary", [](RawTop& t) { t.vocab = "2"; }, "keeps 3 logits of a row of 2"},
      {"no vocabulary", [](RawTop& t) { t.vocab = ""; }, "no \"vocab\""},
      {"no number", [](RawTop& t) { t.vocab = "6x"; }, "no \"vocab\""},
      {"huge vocabulary", [](RawTop& t) { t.vocab = "99999999999999999999"; }, "no \"vocab\""},
      {"no k",
       [](RawTop& t) {
         t.ids_shape = t.logits_shape = {2, 0};
         t.ids.clear();
         t.logits.clear();
       },
       "keeps 0 logits"},
      {"huge k", [](RawTop& t) { t.ids_shape = t.logits_shape = {2, int64_t{1} << 40}; }, "elements by its shape"},
  };
  for (const Damage& damage : cases) {
    RawTop raw;
    damage.apply(raw);
    const auto top = raw.open(path());
    ASSERT_FALSE(top) << damage.name;
    EXPECT_EQ(top.error().code, ErrorCode::kInvalidInput);
    EXPECT_THAT(top.error().line(), HasSubstr(damage.expected)) << damage.name;
  }
}

TEST_F(TopLogitsTest, CutShortAnywhereIsAnError) {
  ASSERT_TRUE(RawTop().open(path()));
  const auto whole = read_file(path(), 1 << 20);
  ASSERT_TRUE(whole);
  for (size_t size = 0; size < whole->size(); size += size < 16 ? 1 : 13) {
    ASSERT_TRUE(write_file(path(), whole->substr(0, size)));
    EXPECT_FALSE(TopLogits::open(path())) << size;
  }
}

TEST_F(TopLogitsTest, IdsThatAreNotIntegersAreNotTaken) {
  auto writer = SafetensorsWriter::create(path(), SafetensorsWriter::header_bytes(4));
  ASSERT_TRUE(writer);
  writer->add_metadata("vocab", "6");
  const std::vector<float> values = {1};
  ASSERT_TRUE(writer->add("ids", {1, 1}, values) && writer->add("logits", {1, 1}, values) &&
              writer->add("log_sum_exp", {1}, values) && writer->finish());
  const auto top = TopLogits::open(path());
  ASSERT_FALSE(top);
  EXPECT_THAT(top.error().line(), HasSubstr("\"ids\" (I32)"));
}

class RunWithTopLogits : public TopLogitsTest {
 protected:
  void SetUp() override {
    ASSERT_TRUE(write_file(folder_.path() / "result.json", R"({"engine":"e","prompt":"p","max_tokens":1,)"
                                                           R"("prompt_tokens":[1,2],"generated_tokens":[2]})"));
  }
};

TEST_F(RunWithTopLogits, TellsTheLogitsItKept) {
  ASSERT_TRUE(RawTop().open(path()));
  const auto run = read_run_folder(folder_.path());
  ASSERT_TRUE(run) << run.error().line();
  ASSERT_TRUE(run->top_logits);
  EXPECT_EQ(run->logits(), nullptr);
  EXPECT_EQ(run->logit(0, 4), 3.0F);
  EXPECT_EQ(run->logit(1, 0), 0.5F);
  EXPECT_EQ(run->logit(0, 1), std::nullopt);
  EXPECT_EQ(run->logit(2, 0), std::nullopt);
}

TEST_F(RunWithTopLogits, NeedsARowForEachPosition) {
  const std::vector<float> values = {1, 2, 3};
  ASSERT_TRUE(write_top_logits(path(), {{3, 1}, values}, 1, "test"));
  const auto run = read_run_folder(folder_.path());
  ASSERT_FALSE(run);
  EXPECT_THAT(run.error().line(), HasSubstr("top-logits.safetensors: has 3 rows"));
}

TEST_F(RunWithTopLogits, MayNotHaveFullOnesToo) {
  ASSERT_TRUE(RawTop().open(path()));
  auto writer = SafetensorsWriter::create(folder_.path() / "logits.safetensors", SafetensorsWriter::header_bytes(1));
  const std::vector<float> values(12);
  ASSERT_TRUE(writer && writer->add("logits", {2, 6}, values) && writer->finish());
  const auto run = read_run_folder(folder_.path());
  ASSERT_FALSE(run);
  EXPECT_THAT(run.error().line(), HasSubstr("holds both"));
}

}  // namespace
}  // namespace tern::trace
