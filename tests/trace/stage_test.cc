#include "tern/trace/stage.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace tern::trace {
namespace {

TEST(TensorId, NameAndBack) {
  const std::vector<std::pair<TensorId, std::string>> cases = {
      {{0, 0, -1, Stage::kEmbeddings}, "embeddings"},
      {{0, 0, 3, Stage::kQRope}, "blk3/q_rope"},
      {{2, 0, -1, Stage::kOutputNorm}, "t2/output_norm"},
      {{0, 1, 0, Stage::kAttnNorm}, "u1/blk0/attn_norm"},
      {{12, 3, 29, Stage::kDownProj}, "t12/u3/blk29/down_proj"},
  };
  for (const auto& [id, name] : cases) {
    EXPECT_EQ(id.name(), name);
    EXPECT_EQ(TensorId::parse(name), id) << name;
  }
}

TEST(TensorId, RefusesWhatIsNoStage) {
  for (const char* name : {"", "blk0", "blk0/", "q_proj", "blk0/logits", "blk-1/q_proj", "blk00/q_proj", "blk0/q_proj/",
                           "t/embeddings", "blk99999999999999999999/q_proj", "u1/t1/embeddings", "blk0/Q_PROJ"}) {
    EXPECT_EQ(TensorId::parse(name), std::nullopt) << name;
  }
}

TEST(TensorId, OrderIsThatOfExecution) {
  const std::vector<TensorId> in_order = {
      {0, 0, -1, Stage::kEmbeddings}, {0, 0, 0, Stage::kAttnNorm},    {0, 0, 0, Stage::kOut},
      {0, 0, 1, Stage::kAttnNorm},    {0, 0, 10, Stage::kAttnNorm},   {0, 0, -1, Stage::kOutputNorm},
      {0, 0, -1, Stage::kLogits},     {0, 1, -1, Stage::kEmbeddings}, {1, 0, -1, Stage::kEmbeddings},
      {1, 0, 0, Stage::kQProj},
  };
  EXPECT_TRUE(std::is_sorted(in_order.begin(), in_order.end()));
  EXPECT_EQ(std::adjacent_find(in_order.begin(), in_order.end()), in_order.end());
}

}  // namespace
}  // namespace tern::trace
