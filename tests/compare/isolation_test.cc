#include "tern/compare/isolation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <limits>

#include "compare/run_builder.h"

namespace tern::compare {
namespace {

using test::RunBuilder;

trace::TensorId id_of(const char* name) { return *trace::TensorId::parse(name); }

// Wrong tensors; the one with the largest multiple first.
std::vector<std::pair<trace::TensorId, LocalError>> ranking(const Isolation& isolation) {
  std::vector<std::pair<trace::TensorId, LocalError>> wrong;
  std::copy_if(isolation.errors().begin(), isolation.errors().end(), std::back_inserter(wrong),
               [](const auto& entry) { return entry.second.is_wrong(); });
  std::stable_sort(wrong.begin(), wrong.end(),
                   [](const auto& a, const auto& b) { return a.second.multiple() > b.second.multiple(); });
  return wrong;
}

class IsolationTest : public testing::Test {
 protected:
  // Every tensor of `exact` off by `relative`, up and down in turn.
  RunBuilder rounded(float relative) {
    RunBuilder run = exact_;
    for (auto& [name, values] : run.tensors) {
      for (float& value : values) {
        value *= 1 + relative;
        relative = -relative;
      }
    }
    return run;
  }
  Isolation isolate(const RunBuilder& run) {
    const trace::EngineRun float32 = rounded(1e-4F).build(folder_);
    return Isolation(run.build(folder_), exact_.build(folder_), {&float32});
  }

  test::TemporaryFolder folder_;
  RunBuilder exact_ = RunBuilder::example();
};

TEST_F(IsolationTest, ErrorsAreMultiplesOfTheFloor) {
  const Isolation isolation = isolate(rounded(-2e-4F));
  const LocalError* local = isolation.find(id_of("blk0/q_proj"));
  ASSERT_NE(local, nullptr);
  EXPECT_NEAR(local->error.relative, 2e-4, 1e-7);
  EXPECT_NEAR(local->floor.relative, 1e-4, 1e-7);
  EXPECT_NEAR(local->multiple(), 2, 0.01);
  EXPECT_FALSE(local->is_wrong());
  EXPECT_TRUE(ranking(isolation).empty());
}

TEST_F(IsolationTest, TheRankingBeginsWithTheWorst) {
  RunBuilder run = exact_;
  for (float& value : run.tensors["blk0/q_proj"]) value *= 1.001F;
  for (float& value : run.tensors["blk1/out"]) value *= 1.1F;
  const auto ranked = ranking(isolate(run));
  ASSERT_EQ(ranked.size(), 2U);
  EXPECT_EQ(ranked[0].first.name(), "blk1/out");
  EXPECT_EQ(ranked[1].first.name(), "blk0/q_proj");
  EXPECT_NEAR(ranked[1].second.multiple(), 10, 0.1);
}

// One value can be wrong where the tensor as a whole hardly is.
TEST_F(IsolationTest, OneValueIsEnough) {
  exact_.tensors["blk0/q_proj"] = std::vector<float>(4096, 1.0F);
  RunBuilder run = exact_;
  run.tensors["blk0/q_proj"][77] = 1.001F;
  const Isolation isolation = isolate(run);
  const LocalError* local = isolation.find(id_of("blk0/q_proj"));
  ASSERT_NE(local, nullptr);
  EXPECT_LT(local->error.relative, 1e-4);
  EXPECT_GT(local->multiple(), kFloorAllowance);
}

// Even where the right evaluations happen to agree to the bit, float32 is no finer than it is.
TEST_F(IsolationTest, NoFloorIsBelowFloat32) {
  const trace::EngineRun exact = exact_.build(folder_);
  const Isolation isolation(exact, exact, {&exact});
  for (const auto& [id, local] : isolation.errors()) {
    EXPECT_GE(local.floor.relative, 0x1p-24) << id.name();
    EXPECT_GE(local.floor.largest, 0x1p-24) << id.name();
    EXPECT_EQ(local.multiple(), 0) << id.name();
  }
}

TEST_F(IsolationTest, NotFiniteAndNotZeroAreWrong) {
  RunBuilder run = exact_;
  run.tensors["blk0/q_proj"][0] = std::numeric_limits<float>::quiet_NaN();
  for (float& value : exact_.tensors["blk1/out"]) value = 0;
  const Isolation isolation = isolate(run);
  for (const char* name : {"blk0/q_proj", "blk1/out"}) {
    ASSERT_NE(isolation.find(id_of(name)), nullptr) << name;
    EXPECT_TRUE(isolation.find(id_of(name))->is_wrong()) << name;
  }
}

// NaN that went in must come out; nothing can be said of such a stage.
TEST_F(IsolationTest, InputsThatAreNotFiniteAreNotHeldAgainstAStage) {
  RunBuilder run = exact_;
  run.tensors["blk1/out"][0] = exact_.tensors["blk1/out"][0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(isolate(run).find(id_of("blk1/out")), nullptr);
}

TEST_F(IsolationTest, AHypothesisIsHeldToTheSameFloors) {
  RunBuilder run = exact_;
  for (float& value : run.tensors["blk0/q_proj"]) value *= 2;
  const Isolation isolation = isolate(run);
  EXPECT_TRUE(isolation.find(id_of("blk0/q_proj"))->is_wrong());
  const trace::EngineRun with_fault = run.build(folder_);
  const Isolation under = isolation.under(with_fault, with_fault);
  EXPECT_EQ(under.errors().size(), isolation.errors().size());
  EXPECT_TRUE(ranking(under).empty());
  EXPECT_EQ(under.find(id_of("blk0/q_proj"))->floor.relative, isolation.find(id_of("blk0/q_proj"))->floor.relative);
}

}  // namespace
}  // namespace tern::compare
