// Files of every family read through their schema, and files that contradict it.
#include "tern/arch/model_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "engine/small_model.h"
#include "support/paths.h"

namespace tern::arch {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class ModelFileTest : public testing::Test {
 protected:
  gguf::View open(const test::SmallModel& model) const {
    const auto path = folder_.path() / "model.gguf";
    EXPECT_TRUE(model.write(path));
    auto view = gguf::View::open(path);
    EXPECT_TRUE(view) << view.error().line();
    return std::move(*view);
  }
  std::string error_of(const test::SmallModel& model) const {
    const gguf::View view = open(model);
    const auto file = ModelFile::read(view);
    return file ? "" : file.error().line();
  }
  std::string error_with(const std::string& key, gguf::TypedValue value) const {
    test::SmallModel model("llama");
    model.set("llama." + key, std::move(value));
    return error_of(model);
  }

  test::TemporaryFolder folder_;
};

TEST(Families, RowsAreWellFormed) {
  std::set<std::string_view> names;
  for (const Family& family : families()) {
    SCOPED_TRACE(family.name);
    EXPECT_TRUE(names.insert(family.name).second);
    EXPECT_NE(find_family(family.graph), nullptr) << "an alias of a family that is not in the table";
    EXPECT_THAT(family_names(), HasSubstr(std::string(family.name)));
    std::set<Role> roles;
    std::set<std::string_view> tensors;
    for (const TensorSpec& spec : family.tensors) {
      EXPECT_TRUE(roles.insert(spec.role).second) << spec.name;
      EXPECT_TRUE(tensors.insert(spec.name).second) << spec.name;
      EXPECT_EQ(family.find(spec.role), &spec);
    }
    EXPECT_TRUE(roles.contains(Role::kEmbedding));
  }
  EXPECT_EQ(find_family("gpt2"), nullptr);
}

TEST_F(ModelFileTest, EveryFamilyIsRead) {
  for (const Family& family : families()) {
    SCOPED_TRACE(family.name);
    const gguf::View view = open(test::SmallModel(std::string(family.name)));
    const auto file = ModelFile::read(view);
    ASSERT_TRUE(file) << file.error().line();
    EXPECT_EQ(&file->family(), &family);
    const Numbers& n = file->numbers();
    EXPECT_EQ(std::tuple(n.n_layers, n.n_embd, n.n_ff, n.n_context), std::tuple(1, 64, 96, 24));
    EXPECT_EQ(std::tuple(n.n_heads, n.n_kv_heads, n.head_dim, n.n_vocab), std::tuple(2, 1, 32, 40));
    for (const TensorSpec& spec : family.tensors) {
      const gguf::Tensor* tensor = file->find(spec.role, 0);
      ASSERT_EQ(tensor != nullptr, spec.is_required) << spec.name;
      if (tensor != nullptr) {
        EXPECT_EQ(tensor->name, tensor_name(spec, 0));
      }
    }
  }
}

TEST_F(ModelFileTest, TheHeadIsOptional) {
  test::SmallModel model("bitnet-25");
  model.tensors.push_back({"output.weight", {64, 40}, &quant::kF16});
  const gguf::View view = open(model);
  const auto file = ModelFile::read(view);
  ASSERT_TRUE(file) << file.error().line();
  EXPECT_EQ(file->tensor(Role::kHead).name, "output.weight");
}

TEST_F(ModelFileTest, KeysThatChangeTheComputationAreRefusedByName) {
  for (const char* key : {"rope.scaling.attn_factor", "rope.scaling.original_context_length", "attention.scale",
                          "logit_scale", "embedding_scale", "final_logit_softcapping", "attention.clamp_kqv"}) {
    EXPECT_THAT(error_with(key, 0.5F), AllOf(HasSubstr("llama." + std::string(key)), HasSubstr("llama computes")));
  }
  EXPECT_THAT(error_with("expert_count", uint32_t{8}), HasSubstr("llama.expert_count"));
  EXPECT_THAT(error_with("attention.sliding_window", uint32_t{512}), HasSubstr("sliding_window"));
  EXPECT_THAT(error_with("rope.scaling.type", std::string("yarn")), HasSubstr("yarn"));
  EXPECT_THAT(error_with("rope.scaling.factor", 2.0F), HasSubstr("rope.scaling.factor"));
}

TEST_F(ModelFileTest, KeysThatChangeNothingAreAccepted) {
  EXPECT_EQ(error_with("expert_count", uint32_t{0}), "");
  EXPECT_EQ(error_with("rope.scaling.type", std::string("linear")), "");
  EXPECT_EQ(error_with("rope.scaling.factor", 1.0F), "");
  EXPECT_EQ(error_with("rope.scaling.finetuned", false), "");
  EXPECT_EQ(error_with("tensor_data_layout", std::string("Meta AI original pth")), "");
}

TEST_F(ModelFileTest, UnusedTensorsAreRefusedByName) {
  test::SmallModel model("llama");
  model.tensors.push_back({"blk.0.attn_q.bias", {64}, &quant::kF32});
  EXPECT_THAT(error_of(model), AllOf(HasSubstr("tensor blk.0.attn_q.bias"), HasSubstr("llama does not use")));
}

TEST_F(ModelFileTest, ANormInCodesIsRefused) {
  test::SmallModel model("llama");
  model.tensor("blk.0.attn_norm.weight") = {"blk.0.attn_norm.weight", {64}, &quant::kQ8_0};
  EXPECT_THAT(error_of(model), AllOf(HasSubstr("attn_norm"), HasSubstr("Q8_0 (type 8): a norm must be F32 or F16")));
}

}  // namespace
}  // namespace tern::arch
