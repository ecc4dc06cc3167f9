// Models and prompts that tern must refuse before it computes anything, each with one line that names the place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "engine/small_model.h"
#include "support/paths.h"
#include "tern/engine/session.h"
#include "tern/kernels/dispatch.h"

namespace tern::engine {
namespace {

using gguf::TypedValue;
using test::SmallModel;
using testing::HasSubstr;

class BadModel : public testing::Test {
 protected:
  // The error that the model gets, or an empty line where it is accepted.
  std::string error_of(const SmallModel& model) {
    const auto path = folder_.path() / "model.gguf";
    const Status written = model.write(path);
    EXPECT_TRUE(written) << written.error().line();
    const auto view = gguf::View::open(path);
    if (!view) {
      return view.error().line();
    }
    const auto session = Session::create(*view, {.table = kernels::runnable_tables().back()});
    if (session) {
      return {};
    }
    EXPECT_EQ(session.error().code, ErrorCode::kInvalidInput);
    EXPECT_THAT(session.error().line(), HasSubstr("model.gguf"));
    return session.error().line();
  }

  std::string error_after(const std::function<void(SmallModel&)>& bend, const std::string& architecture = "llama") {
    SmallModel model(architecture);
    bend(model);
    return error_of(model);
  }

  test::TemporaryFolder folder_;
};

TEST_F(BadModel, TheUnbentModelsAreAccepted) {
  for (const char* architecture : {"llama", "bitnet", "bitnet-b1.58", "bitnet-25"}) {
    EXPECT_EQ(error_of(SmallModel(architecture)), "") << architecture;
    EXPECT_EQ(error_of(SmallModel(architecture, &quant::kF16)), "") << architecture;
  }
}

TEST_F(BadModel, EachNeededKeyIsMissed) {
  for (const std::string key : {"context_length", "embedding_length", "block_count", "feed_forward_length",
                                "attention.head_count", "attention.layer_norm_rms_epsilon"}) {
    EXPECT_THAT(error_after([&](SmallModel& m) { m.erase_key("llama." + key); }), HasSubstr("llama." + key));
  }
  EXPECT_THAT(error_after([](SmallModel& m) { m.erase_key("general.architecture"); }),
              HasSubstr("general.architecture"));
}

TEST_F(BadModel, KeysOfOtherTypesOrOutOfRange) {
  const std::vector<std::pair<std::string, TypedValue>> bent = {
      {"context_length", std::string("24")},
      {"context_length", uint32_t{0}},
      {"embedding_length", int32_t{-64}},
      {"embedding_length", uint64_t{1} << 40},
      {"embedding_length", 64.0f},
      {"block_count", uint32_t{2}},
      {"block_count", uint64_t{std::numeric_limits<uint64_t>::max()}},
      {"feed_forward_length", std::vector<uint32_t>{96}},
      {"attention.head_count", uint32_t{0}},
      {"attention.head_count", uint32_t{3}},
      {"attention.head_count", uint32_t{64}},
      {"attention.head_count_kv", uint32_t{0}},
      {"attention.head_count_kv", uint32_t{3}},
      {"attention.key_length", uint32_t{31}},
      {"attention.value_length", uint32_t{16}},
      {"attention.layer_norm_rms_epsilon", std::numeric_limits<float>::quiet_NaN()},
      {"attention.layer_norm_rms_epsilon", -1e-5f},
      {"attention.layer_norm_rms_epsilon", std::string("small")},
      {"rope.dimension_count", uint32_t{16}},
      {"rope.freq_base", std::numeric_limits<float>::infinity()},
      {"rope.freq_base", 0.0f},
      {"rope.scaling.type", std::string("yarn")},
      {"rope.scaling.factor", 2.0f},
      {"vocab_size", uint32_t{41}},
  };
  for (const auto& entry : bent) {
    const std::string& key = entry.first;
    const std::string line = error_after([&](SmallModel& m) { m.set("llama." + key, entry.second); });
    EXPECT_NE(line, "") << key;
    EXPECT_EQ(line.find('\n'), std::string::npos);
    // A wrong count of layers or heads may first be noticed by the tensors.
    EXPECT_TRUE(line.find("llama." + key) != std::string::npos || line.find("blk.") != std::string::npos) << line;
  }
}

TEST_F(BadModel, UnknownArchitecture) { EXPECT_THAT(error_of(SmallModel("gemma\n")), HasSubstr("architecture")); }

TEST_F(BadModel, EachTensorIsMissed) {
  for (const char* architecture : {"llama", "bitnet-b1.58"}) {
    for (const SmallModel::Tensor& tensor : SmallModel(architecture).tensors) {
      const std::string line = error_after([&](SmallModel& m) { m.erase_tensor(tensor.name); }, architecture);
      EXPECT_THAT(line, HasSubstr(tensor.name));
    }
  }
}

TEST_F(BadModel, TensorsOfOtherShapes) {
  for (const SmallModel::Tensor& tensor : SmallModel("bitnet-b1.58").tensors) {
    for (size_t dim = 0; dim < tensor.dims.size(); ++dim) {
      for (const int64_t by : {-1, 1}) {
        const std::string line = error_after(
            [&](SmallModel& m) { m.tensor(tensor.name).dims[dim] += static_cast<uint64_t>(by); }, "bitnet-b1.58");
        // Another number of embeddings contradicts the key vocab_size instead.
        EXPECT_THAT(line, testing::AnyOf(HasSubstr(tensor.name), HasSubstr("vocab_size")));
      }
    }
  }
  EXPECT_THAT(error_after([](SmallModel& m) {
                m.tensor("blk.0.attn_q.weight").dims = {64, 32, 2};
              }),
              HasSubstr("blk.0.attn_q.weight"));
}

TEST_F(BadModel, TensorsThatTernWouldIgnore) {
  for (const char* name :
       {"blk.0.attn_q.bias", "rope_freqs.weight", "blk.1.attn_norm.weight", "blk.0.attn_sub_norm.weight"}) {
    EXPECT_THAT(error_after([&](SmallModel& m) { m.tensors.push_back({name, {64}, &quant::kF32}); }), HasSubstr(name));
  }
}

TEST_F(BadModel, TernaryEmbedding) {
  EXPECT_THAT(error_after([](SmallModel& m) {
                m.erase_key("llama.vocab_size");
                m.tensor("token_embd.weight") = {"token_embd.weight", {128, 40}, &quant::kI2sBitnetCpp};
                m.set("llama.embedding_length", uint32_t{128});
              }),
              HasSubstr("token_embd.weight"));
}

TEST_F(BadModel, PromptsThatCannotRun) {
  const auto path = folder_.path() / "model.gguf";
  ASSERT_TRUE(SmallModel("llama").write(path));
  const auto view = gguf::View::open(path);
  ASSERT_TRUE(view);
  const auto session = Session::create(*view, {.table = kernels::runnable_tables().back()});
  ASSERT_TRUE(session);
  const auto error_of_prompt = [&](std::vector<int32_t> prompt, int max_tokens) {
    bool started = false;
    const auto result = (*session)->generate(
        {.prompt = prompt, .max_tokens = max_tokens, .on_logits = [&](std::span<const float>) -> Status {
           started = true;
           return {};
         }});
    EXPECT_EQ(started, result.has_value());
    return result ? std::string() : result.error().line();
  };
  EXPECT_THAT(error_of_prompt({}, 1), HasSubstr("no tokens"));
  EXPECT_THAT(error_of_prompt({1, 40}, 1), HasSubstr("id 40"));
  EXPECT_THAT(error_of_prompt({1, -1}, 1), HasSubstr("id -1"));
  EXPECT_THAT(error_of_prompt(std::vector<int32_t>(25, 1), 1), HasSubstr("25 prompt tokens"));
  EXPECT_THAT(error_of_prompt(std::vector<int32_t>(20, 1), 6), HasSubstr("at most 5"));
  EXPECT_EQ(error_of_prompt(std::vector<int32_t>(24, 1), 1), "");
  EXPECT_EQ(error_of_prompt(std::vector<int32_t>(20, 1), 5), "");

  const auto beyond = Session::create(*view, {.table = kernels::runnable_tables().back(), .n_ctx = 25});
  ASSERT_FALSE(beyond);
  EXPECT_THAT(beyond.error().line(), HasSubstr("24 positions"));
}

}  // namespace
}  // namespace tern::engine
