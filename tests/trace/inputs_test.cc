#include "tern/trace/inputs.h"

#include <gtest/gtest.h>

#include "support/paths.h"
#include "tern/base/file.h"

namespace tern::trace {
namespace {

class InputsTest : public testing::Test {
 protected:
  void SetUp() override {
    auto writer = SafetensorsWriter::create(folder_.path() / "tensors.safetensors", 4096);
    ASSERT_TRUE(writer);
    for (const char* name : {"blk0/attn_norm", "blk0/q_proj", "blk0/k_proj", "blk0/q_rope", "blk0/scan"}) {
      ASSERT_TRUE(writer->add(name, {1, 2}, std::vector<float>{1, 2}));
    }
    ASSERT_TRUE(writer->finish());
  }
  // Which of the five are taken where only those before `before` are.
  std::string taken(const char* before) {
    const auto inputs = Inputs::open(folder_.path(), TensorId::parse(before));
    EXPECT_TRUE(inputs) << inputs.error().line();
    std::string names;
    for (const char* name : {"attn_norm", "q_proj", "k_proj", "q_rope", "scan"}) {
      std::vector<float> values = {0, 0};
      if (inputs->take_over(*TensorId::parse(std::string("blk0/") + name), {1, 2}, std::span(values))) {
        EXPECT_EQ(values, (std::vector<float>{1, 2}));
        names += std::string(names.empty() ? "" : " ") + name;
      }
    }
    return names;
  }

  test::TemporaryFolder folder_;
};

TEST_F(InputsTest, WithoutRecordsTheTableOfStagesSaysWhatComesBefore) {
  EXPECT_EQ(taken("blk0/k_proj"), "attn_norm q_proj q_rope");
  EXPECT_EQ(taken("blk1/k_proj"), "attn_norm q_proj k_proj q_rope scan");
}

TEST_F(InputsTest, TheOrderOfTheRunsRecordsComesFirst) {
  std::string lines;
  for (const char* name : {"blk0/attn_norm", "blk0/scan", "blk0/q_proj", "blk0/k_proj", "blk0/q_rope"}) {
    lines += std::string(R"({"name":")") + name + R"(","shape":[1,2],"blake3":")" + std::string(64, '0') + "\"}\n";
  }
  ASSERT_TRUE(write_file(folder_.path() / "trace.jsonl", lines));
  EXPECT_EQ(taken("blk0/k_proj"), "attn_norm q_proj scan");
  EXPECT_EQ(taken("blk0/attn_norm"), "");
  EXPECT_EQ(taken("blk0/o_proj"), "attn_norm q_proj k_proj q_rope") << "which has no record";
}

}  // namespace
}  // namespace tern::trace
