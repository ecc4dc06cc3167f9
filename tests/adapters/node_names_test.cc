#include "node_names.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace tern::adapter {
namespace {

using Nodes = std::vector<std::pair<std::string, std::string>>;

// What each node of a graph is recorded as, in order, once the whole graph was looked through.
std::vector<std::string> names_of(const Nodes& nodes, bool known_graph = false, int n_passes = 1) {
  NodeNames names(known_graph);
  for (const auto& [name, op] : nodes) {
    names.note(name, op);
  }
  std::vector<std::string> found;
  for (int pass = 0; pass < n_passes; ++pass) {
    names.begin_pass();
    for (const auto& [name, op] : nodes) {
      const NodeStage node = names.name(name, op);
      found.push_back(trace::TensorId{.seq = pass, .layer = node.layer, .stage = node.stage}.name());
    }
  }
  return found;
}

TEST(NodeNames, TheLayerSuffixBecomesAPrefix) {
  EXPECT_EQ(names_of({{"embd", "GET_ROWS"},
                      {"ffn_moe_gate-12", "MUL_MAT_ID"},
                      {"Kcur-3 (permuted) (cont)", "CONT"},
                      {"cache_k_l0 (view)", "SET_ROWS"},
                      {"result_output", "MUL_MAT"}}),
            (std::vector<std::string>{"embd", "blk12/ffn_moe_gate", "blk3/Kcur (permuted) (cont)", "cache_k_l0 (view)",
                                      "result_output"}));
}

TEST(NodeNames, NodesOfOtherOperationsAreToldApartInEveryPass) {
  const Nodes nodes = {{"Qcur-0", "MUL_MAT"}, {"Kcur-0", "MUL_MAT"}, {"Qcur-0", "ROPE"}, {"Qcur-1", "MUL_MAT"}};
  EXPECT_EQ(names_of(nodes, false, 2),
            (std::vector<std::string>{"blk0/Qcur.mul_mat", "blk0/Kcur", "blk0/Qcur.rope", "blk1/Qcur",
                                      "t1/blk0/Qcur.mul_mat", "t1/blk0/Kcur", "t1/blk0/Qcur.rope", "t1/blk1/Qcur"}));
}

TEST(NodeNames, RepeatsAreCounted) {
  EXPECT_EQ(names_of({{"norm-0", "RMS_NORM"}, {"norm-0", "RMS_NORM"}, {"x-0", "ADD"}, {"x-0", "MUL"}, {"x-0", "ADD"}}),
            (std::vector<std::string>{"blk0/norm", "blk0/norm#2", "blk0/x.add", "blk0/x.mul", "blk0/x.add#2"}));
  EXPECT_EQ(names_of({{"x#2", "ADD"}, {"x", "ADD"}, {"x", "ADD"}}), (std::vector<std::string>{"x#2", "x", "x#3"}));
}

TEST(NodeNames, NodesWithoutANameTakeTheirOperation) {
  EXPECT_EQ(names_of({{"", "ADD"}, {"node_17", "MUL_MAT"}, {"node_18", "ADD"}, {" (cont)", "CONT"}, {"node_x", "ADD"}}),
            (std::vector<std::string>{"add", "mul_mat", "add#2", "cont", "node_x"}));
}

TEST(NodeNames, NamesStayNamesOfTensors) {
  EXPECT_EQ(names_of({{"../a\nb\\c-1", "ADD"}, {"..", "ADD"}, {"-1", "ADD"}, {"x-99999999999", "ADD"}}),
            (std::vector<std::string>{"blk1/.._a_b_c", "_", "-1", "x-99999999999"}));
  for (const std::string& name : names_of({{"blk0/x", "ADD"}, {"t1/x", "ADD"}, {"x", "ADD"}})) {
    EXPECT_TRUE(trace::TensorId::parse(name)) << name;
    EXPECT_EQ(trace::TensorId::parse(name)->seq, 0);
  }
}

TEST(NodeNames, AKnownGraphHoldsStagesAndNodesBetweenThem) {
  EXPECT_EQ(names_of({{"Qcur-0", "MUL_MAT"},
                      {"Qcur-0", "ROPE"},
                      {"kqv_out-0", "CONT"},
                      {"attn_out-0", "MUL_MAT"},
                      {"attn_out-0", "ADD"},
                      {"attn_norm-0", "RMS_NORM"},
                      {"norm", "RMS_NORM"},
                      {"result_output", "MUL_MAT"}},
                     true),
            (std::vector<std::string>{"blk0/q_proj", "blk0/q_rope", "blk0/attn_out", "blk0/o_proj", "blk0/attn_out.add",
                                      "blk0/attn_norm.rms_norm", "norm", "logits"}));
}

}  // namespace
}  // namespace tern::adapter
