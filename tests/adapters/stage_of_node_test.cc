#include "stage_of_node.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace tern::adapter {
namespace {

using Nodes = std::vector<std::pair<std::string, std::string>>;

// "stage@layer" of each node that holds one, in order.
std::vector<std::string> stages_of(const Nodes& nodes) {
  std::vector<std::string> found;
  for (const auto& [name, op] : nodes) {
    if (const auto node = stage_of_node(name, op)) {
      found.push_back(std::string(node->stage.name()) + "@" + std::to_string(node->layer));
    }
  }
  return found;
}

// One layer as the library's graph has it, nodes between the stages included.
TEST(StageOfNode, FindsEveryStageOfTheBitnetGraphOf2024) {
  const Nodes nodes = {{"inp_embd", "GET_ROWS"},
                       {"norm-1", "RMS_NORM"},
                       {"attn_norm-1", "MUL"},
                       {"Qcur-1", "MUL_MAT"},
                       {"Qcur-1 (reshaped)", "RESHAPE"},
                       {"Qcur-1", "ROPE"},
                       {"Kcur-1", "MUL_MAT"},
                       {"Kcur-1", "ROPE"},
                       {"Vcur-1", "MUL_MAT"},
                       {"kq-1", "MUL_MAT"},
                       {"kq_soft_max_ext-1", "SOFT_MAX"},
                       {"kqv-1", "MUL_MAT"},
                       {"kqv_out-1", "CONT"},
                       {"attn_sub_norm-1", "MUL"},
                       {"attn_o_out-1", "MUL_MAT"},
                       {"ffn_inp-1", "ADD"},
                       {"ffn_norm-1", "MUL"},
                       {"ffn_up-1", "MUL_MAT"},
                       {"ffn_gate-1", "MUL_MAT"},
                       {"ffn_out-1", "MUL"},
                       {"ffn_sub_norm-1", "MUL"},
                       {"ffn_down-1", "MUL_MAT"},
                       {"l_out-1", "ADD"},
                       {"result_norm", "MUL"},
                       {"result_output", "MUL_MAT"}};
  EXPECT_EQ(stages_of(nodes),
            (std::vector<std::string>{"embeddings@-1",  "attn_norm@1",     "q_proj@1",    "q_rope@1",
                                      "k_proj@1",       "k_rope@1",        "v_proj@1",    "attn_scores_softmax@1",
                                      "attn_out@1",     "attn_sub_norm@1", "o_proj@1",    "ffn_inp@1",
                                      "ffn_norm@1",     "up_proj@1",       "gate_proj@1", "ffn_act@1",
                                      "ffn_sub_norm@1", "down_proj@1",     "out@1",       "output_norm@-1",
                                      "logits@-1"}));
}

TEST(StageOfNode, FindsEveryStageOfTheLlamaGraphOf2026) {
  const Nodes nodes = {{"embd", "GET_ROWS"},
                       {"attn_norm-0", "MUL"},
                       {"Qcur-0", "MUL_MAT"},
                       {"Qcur-0", "RESHAPE"},
                       {"Qcur-0", "ROPE"},
                       {"Vcur-0", "MUL_MAT"},
                       {"Kcur-0", "MUL_MAT"},
                       {"Kcur-0", "ROPE"},
                       {"cache_k_l0 (view)", "SET_ROWS"},
                       {"kq-0", "MUL_MAT"},
                       {"kq_soft_max-0", "SOFT_MAX"},
                       {"kqv-0", "MUL_MAT"},
                       {"kqv_out-0", "CONT"},
                       {"attn_out-0", "MUL_MAT"},
                       {"ffn_inp-0", "ADD"},
                       {"ffn_norm-0", "MUL"},
                       {"ffn_gate-0", "MUL_MAT"},
                       {"ffn_up-0", "MUL_MAT"},
                       {"ffn_swiglu-0", "GLU"},
                       {"ffn_out-0", "MUL_MAT"},
                       {"l_out-0", "ADD"},
                       {"result_norm", "MUL"},
                       {"result_output", "MUL_MAT"}};
  EXPECT_EQ(stages_of(nodes),
            (std::vector<std::string>{"embeddings@-1", "attn_norm@0", "q_proj@0", "q_rope@0", "v_proj@0", "k_proj@0",
                                      "k_rope@0", "attn_scores_softmax@0", "attn_out@0", "o_proj@0", "ffn_inp@0",
                                      "ffn_norm@0", "gate_proj@0", "up_proj@0", "ffn_act@0", "down_proj@0", "out@0",
                                      "output_norm@-1", "logits@-1"}));
}

TEST(StageOfNode, TellsNodesOfOneNameApartByTheirOperation) {
  EXPECT_EQ(stage_of_node("kqv_out-3", "CONT")->stage, trace::Stage::kAttnOut);
  EXPECT_EQ(stage_of_node("kqv_out-3", "MUL_MAT")->stage, trace::Stage::kOProj);
  EXPECT_EQ(stage_of_node("ffn_out-3", "MUL")->stage, trace::Stage::kFfnAct);
  EXPECT_EQ(stage_of_node("ffn_out-3", "MUL_MAT")->stage, trace::Stage::kDownProj);
  EXPECT_FALSE(stage_of_node("ffn_out-3", "ADD"));
}

TEST(StageOfNode, WantsALayerExactlyWhereTheStageHasOne) {
  EXPECT_EQ(stage_of_node("Qcur-127", "ROPE")->layer, 127);
  EXPECT_FALSE(stage_of_node("Qcur", "ROPE"));
  EXPECT_FALSE(stage_of_node("Qcur-", "ROPE"));
  EXPECT_FALSE(stage_of_node("Qcur--1", "ROPE"));
  EXPECT_FALSE(stage_of_node("Qcur-1x", "ROPE"));
  EXPECT_FALSE(stage_of_node("Qcur-99999999999", "ROPE"));
  EXPECT_FALSE(stage_of_node("result_norm-1", "MUL"));
  EXPECT_FALSE(stage_of_node("", ""));
}

}  // namespace
}  // namespace tern::adapter
