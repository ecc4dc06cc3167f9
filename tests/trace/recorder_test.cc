#include "tern/trace/recorder.h"

#include <gtest/gtest.h>

#include "support/paths.h"
#include "tern/trace/run_folder.h"

namespace tern::trace {
namespace {

namespace fs = std::filesystem;
const std::vector<float> kValues = {1, 2, 3, 4, 5, 6};

TEST(FolderRecorder, OneFilePerTensorAndTheValues) {
  const test::TemporaryFolder folder;
  auto recorder = FolderRecorder::create(folder.path() / "traces");
  ASSERT_TRUE(recorder);
  ASSERT_TRUE((*recorder)->dump_values(folder.path() / "tensors.safetensors", 2));
  ASSERT_TRUE((*recorder)->record({0, 0, 0, Stage::kQProj}, {2, 3}, kValues));
  ASSERT_TRUE((*recorder)->record({1, 0, -1, Stage::kLogits}, {1, 6}, kValues));
  EXPECT_FALSE(fs::exists(folder.path() / "tensors.safetensors")) << "appears only when it is whole";
  ASSERT_TRUE((*recorder)->finish());
  const auto values = Safetensors::open(folder.path() / "tensors.safetensors");
  ASSERT_TRUE(values) << values.error().line();
  ASSERT_NE(values->find("t1/logits"), nullptr);
  EXPECT_TRUE(std::equal(kValues.begin(), kValues.end(), values->find("t1/logits")->values.begin()));
  EXPECT_TRUE(fs::exists(folder.path() / "traces" / "blk0_q_proj.trace"));
  const auto trace = read_trace_folder(folder.path() / "traces");
  ASSERT_TRUE(trace) << trace.error().line();
  ASSERT_EQ(trace->size(), 2U);
  EXPECT_EQ((*trace)[1].id.name(), "t1/logits");
  EXPECT_EQ((*trace)[1].index, 1U);
}

TEST(FolderRecorder, RefusesTwoNamesOfOneFile) {
  const test::TemporaryFolder folder;
  auto recorder = FolderRecorder::create(folder.path());
  ASSERT_TRUE(recorder && (*recorder)->record({0, 0, 0, Stage::named("x", true)}, {2, 3}, kValues));
  const Status again = (*recorder)->record({0, 0, -1, Stage::named("blk0_x", false)}, {2, 3}, kValues);
  ASSERT_FALSE(again);
  EXPECT_NE(again.error().line().find("blk0_x.trace"), std::string::npos) << again.error().line();
}

TEST(FolderRecorder, RefusesAFolderWithEarlierEvidence) {
  const test::TemporaryFolder folder;
  {
    auto first = FolderRecorder::create(folder.path());
    ASSERT_TRUE(first && (*first)->record({0, 0, 0, Stage::kQProj}, {2, 3}, kValues));
  }
  const auto second = FolderRecorder::create(folder.path());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kInvalidInput);
}

TEST(FolderRecorder, DiscardLeavesNothing) {
  const test::TemporaryFolder folder;
  auto recorder = FolderRecorder::create(folder.path());
  ASSERT_TRUE(recorder && (*recorder)->dump_values(folder.path() / "tensors.safetensors", 1));
  ASSERT_TRUE((*recorder)->record({0, 0, 0, Stage::kQProj}, {2, 3}, kValues));
  (*recorder)->discard();
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

}  // namespace
}  // namespace tern::trace
