#include "tern/app/tensor_patterns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/paths.h"
#include "tern/app/known_graph.h"
#include "tern/arch/family.h"
#include "tern/synth/synthetic_model.h"

namespace tern::app {
namespace {

using testing::HasSubstr;

bool matches_graph(const std::string& pattern) {
  const compare::ModelGraph graph{stages_of_graph("llama"), 4};
  return is_of_graph({pattern, "x"}, graph, 3, 2);
}

TEST(TensorPatterns, AStageOrATensorOfTheModelIsKnown) {
  for (const char* known : {"attn_*", "*", "q_proj", "attn_sub_norm", "blk0/*", "blk3/q_proj", "t2/blk1/out",
                            "t*/logits", "u1/blk0/*", "*/q_proj"}) {
    EXPECT_TRUE(matches_graph(known)) << known;
  }
  for (const char* unknown :
       {"atn_*", "", "blk0/attn_sub_norm", "blk4/*", "t3/*", "u2/*", "layer0/*", "blk0/logits", "Q_PROJ"}) {
    EXPECT_FALSE(matches_graph(unknown)) << unknown;
  }
}

TEST(TensorPatterns, TheFirstUnknownOneIsAUsageError) {
  compare::CompareOptions options;
  options.tolerances.by_stage = {{"q_proj", 0.1, {}, "t.toml line 2: stage"},
                                 {"atn_*", 0.1, {}, "t.toml line 5: stage"}};
  options.allow_missing = {"out"};
  const auto known = [](const TensorPattern& pattern) { return matches_graph(pattern.pattern); };
  const Status status = check_patterns(patterns_in(options), known);
  ASSERT_FALSE(status);
  EXPECT_EQ(exit_code(status.error().code), 2);
  EXPECT_THAT(status.error().line(), HasSubstr("t.toml line 5: stage: the pattern 'atn_*' matches no stage"));
  EXPECT_THAT(status.error().line(), HasSubstr("attn_scores_softmax"));
  options.tolerances.by_stage.pop_back();
  EXPECT_TRUE(check_patterns(patterns_in(options), known));
  options.allow_missing = {"blk9/out"};
  EXPECT_THAT(check_patterns(patterns_in(options), known).error().line(),
              HasSubstr("--allow-missing: the pattern 'blk9/out' matches no tensor"));
}

TEST(TensorPatterns, TheGraphIsThatOfTheFile) {
  const auto view = gguf::View::open(test::golden_dir() / "models" / "tiny-i2_s.gguf");
  ASSERT_TRUE(view);
  const compare::ModelGraph graph = graph_of(*view);
  EXPECT_EQ(graph.stages.size(), trace::kStageTable.size());
  EXPECT_GT(graph.n_layers, 0);
}

TEST(TensorPatterns, EachFamilysGraphIsKnown) {
  const test::TemporaryFolder folder;
  for (const arch::Family& family : arch::families()) {
    SCOPED_TRACE(family.name);
    synth::SyntheticOptions options{.shape = *synth::synthetic_shape("tiny")};
    options.architecture = family.name;
    const auto path = folder.path() / (std::string(family.name) + ".gguf");
    ASSERT_TRUE(synth::write_synthetic_model(path, options));
    const auto view = gguf::View::open(path);
    ASSERT_TRUE(view) << view.error().line();
    const compare::ModelGraph graph = graph_of(*view);
    EXPECT_EQ(graph.stages, stages_of_graph(family.name));
    EXPECT_FALSE(graph.stages.empty());
    EXPECT_GT(graph.n_layers, 0);
  }
}

}  // namespace
}  // namespace tern::app
