#include "tern/app/known_graph.h"

#include <gtest/gtest.h>

#include "tern/arch/family.h"

namespace tern::app {
namespace {

TEST(KnownGraph, AFamilyHasTheStagesOfItsWeights) {
  EXPECT_EQ(stages_of_graph("bitnet").size(), 21U);
  EXPECT_EQ(stages_of_graph("llama").size(), 19U);
  EXPECT_TRUE(stages_of_graph("qwen3").empty());
  for (const arch::Family& family : arch::families()) {
    bool has_sub_norms = false;
    size_t n_weights = 0;
    for (const trace::Stage stage : stages_of_graph(family.name)) {
      has_sub_norms = has_sub_norms || stage.row().only_with_sub_norms;
      n_weights += stage.row().weight.empty() ? 0U : 1U;
    }
    EXPECT_EQ(has_sub_norms, family.find(arch::Role::kAttnSubNorm) != nullptr) << family.name;
    EXPECT_EQ(n_weights, family.tensors.size()) << family.name << ": each of its tensors has one stage";
  }
}

}  // namespace
}  // namespace tern::app
