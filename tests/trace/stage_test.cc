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

TEST(TensorId, AnyNameIsAStage) {
  for (const char* name : {"mystery", "blk0/swiglu", "t2/u1/blk7/Qcur.rope#2", "blk-1/q_proj", "blk00/q_proj",
                           "blk99999999999999999999/q_proj", "u1/t1/embeddings", "blk0/Q_PROJ", "blk0", "a/b", "\u00e9",
                           "cache_k_l0 (view)"}) {
    const auto id = TensorId::parse(name);
    ASSERT_TRUE(id) << name;
    EXPECT_EQ(id->name(), name);
    EXPECT_FALSE(id->stage.is_known()) << name;
    EXPECT_EQ(id, TensorId::parse(name));
  }
  const auto id = TensorId::parse("t2/u1/blk7/Qcur.rope#2");
  EXPECT_EQ(id->seq, 2);
  EXPECT_EQ(id->ubatch, 1);
  EXPECT_EQ(id->layer, 7);
  EXPECT_EQ(id->stage.name(), "Qcur.rope#2");
}

TEST(TensorId, AKnownNameInTheOtherPlaceIsAnotherStage) {
  for (const char* name : {"blk0/logits", "q_proj"}) {
    const auto id = TensorId::parse(name);
    ASSERT_TRUE(id) << name;
    EXPECT_EQ(id->name(), name);
    EXPECT_FALSE(id->stage.is_known()) << name;
    EXPECT_NE(id->stage, Stage::kLogits);
    EXPECT_NE(id->stage, Stage::kQProj);
  }
}

TEST(TensorId, RefusesWhatCannotBeAName) {
  for (const std::string& name :
       {std::string(), std::string("blk0/"), std::string("blk0/q_proj/"), std::string("/etc/passwd"),
        std::string("blk0/../out"), std::string(".."), std::string("."), std::string("a//b"), std::string("a\nb"),
        std::string("a\0b", 3), std::string("a\x1b[31m"), std::string("a\x7f"), std::string("a\\b"),
        std::string("a\u0085b"), std::string("a\uffff"), std::string(TensorId::kMaxName + 1, 'a')}) {
    EXPECT_EQ(TensorId::parse(name), std::nullopt) << name;
  }
  EXPECT_TRUE(TensorId::parse(std::string(TensorId::kMaxName, 'a')));
}

TEST(Stage, TheTableFollowsItself) {
  for (const StageRow& row : kStageTable) {
    EXPECT_NE(row.kind, StageKind::kOther) << row.name;
    EXPECT_NE(row.place, StagePlace::kUnknown) << row.name;
    EXPECT_EQ(Stage::named(row.name, row.place == StagePlace::kInLayer), Stage(row));
    const auto* const before = std::find_if(kStageTable.begin(), kStageTable.end(),
                                            [&](const StageRow& other) { return other.name == row.follows; });
    EXPECT_EQ(row.follows.empty(), row.name == "embeddings" || row.name == "attn_norm") << row.name;
    EXPECT_TRUE(row.follows.empty() || before < &row) << row.name << " stands before " << row.follows;
  }
}

TEST(Stage, ListsAreFiltersOfTheTable) {
  constexpr auto kNorms = kStagesWhere<[](const StageRow& row) { return row.kind == StageKind::kNorm; }>;
  EXPECT_EQ(std::vector<Stage>(kNorms.begin(), kNorms.end()),
            (std::vector<Stage>{Stage::kAttnNorm, Stage::kAttnSubNorm, Stage::kFfnNorm, Stage::kFfnSubNorm,
                                Stage::kOutputNorm}));
  constexpr auto kGated = kStagesWhere<[](const StageRow& row) { return follows_gate(row); }>;
  EXPECT_EQ(std::vector<Stage>(kGated.begin(), kGated.end()),
            (std::vector<Stage>{Stage::kFfnAct, Stage::kFfnSubNorm, Stage::kDownProj}));
}

TEST(Stage, AGraphHasTheStagesOfItsWeights) {
  EXPECT_EQ(stages_with_weights([](std::string_view) { return true; }).size(), kStageTable.size());
  const auto without_norms =
      stages_with_weights([](std::string_view weight) { return weight.find("norm") == std::string_view::npos; });
  EXPECT_EQ(without_norms.size(), kStageTable.size() - 5);
  EXPECT_EQ(std::count(without_norms.begin(), without_norms.end(), Stage::kFfnAct), 1) << "it has no weight";
}

TEST(Stage, WhatAStageIsComputedFrom) {
  EXPECT_EQ(input_of(Stage::kOProj, true), Stage::kAttnSubNorm);
  EXPECT_EQ(input_of(Stage::kOProj, false), Stage::kAttnOut);
  EXPECT_EQ(input_of(Stage::kDownProj, false), Stage::kFfnAct);
  EXPECT_EQ(input_of(Stage::kOutputNorm, false), Stage::kOut);
  EXPECT_EQ(input_of(Stage::kAttnNorm, true), std::nullopt);
  EXPECT_EQ(input_of(Stage::named("ssm_scan", true), true), std::nullopt);
}

TEST(TensorId, OrderIsThatOfExecution) {
  const std::vector<TensorId> in_order = {
      {0, 0, -1, Stage::kEmbeddings}, {0, 0, 0, Stage::kAttnNorm},        {0, 0, 0, Stage::kOut},
      {0, 0, 1, Stage::kAttnNorm},    {0, 0, 10, Stage::kAttnNorm},       {0, 0, -1, Stage::kOutputNorm},
      {0, 0, -1, Stage::kLogits},     {0, 1, -1, Stage::kEmbeddings},     {1, 0, -1, Stage::kEmbeddings},
      {1, 0, 0, Stage::kQProj},       {1, 0, 0, Stage::named("a", true)}, {1, 0, 0, Stage::named("b", true)},
      {1, 0, 1, Stage::kQProj},       {1, 0, -1, Stage::kLogits},         {1, 0, -1, Stage::named("a", false)},
  };
  EXPECT_TRUE(std::is_sorted(in_order.begin(), in_order.end()));
  EXPECT_EQ(std::adjacent_find(in_order.begin(), in_order.end()), in_order.end());
}

}  // namespace
}  // namespace tern::trace
