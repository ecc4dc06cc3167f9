// One tensor with many faults is, for each fault, what a whole pass with it records.
#include "tern/oracle/one_tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "support/paths.h"
#include "tern/oracle/faults.h"

namespace tern::oracle {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

const std::vector<int32_t> kTwoUbatches = {1, 5, 9, 3, 7, 2};
const std::vector<int32_t> kFed = {4, 8};
constexpr size_t kUbatch = 4;

const std::vector<const char*> kNames = {"embeddings",
                                         "blk0/attn_norm",
                                         "blk1/q_proj",
                                         "u1/blk1/k_rope",
                                         "u1/blk0/attn_scores_softmax",
                                         "t1/blk1/attn_scores_softmax",
                                         "t2/blk1/attn_out",
                                         "t1/blk0/ffn_inp",
                                         "blk1/ffn_act",
                                         "t2/blk1/out",
                                         "output_norm",
                                         "t1/logits"};

using ByName = std::map<std::string, std::vector<float>>;

ByName whole_passes(Oracle& oracle) {
  trace::MemoryRecorder recorder(true);
  EXPECT_TRUE(oracle.evaluate(std::span(kTwoUbatches).first(kUbatch), 0, 0, &recorder));
  EXPECT_TRUE(oracle.evaluate(std::span(kTwoUbatches).subspan(kUbatch), 0, 1, &recorder));
  for (size_t step = 0; step < kFed.size(); ++step) {
    EXPECT_TRUE(oracle.evaluate(std::span(kFed).subspan(step, 1), static_cast<int>(step) + 1, 0, &recorder));
  }
  ByName values;
  for (size_t i = 0; i < recorder.records().size(); ++i) {
    values[recorder.records()[i].id.name()] = recorder.values()[i];
  }
  return values;
}

// Faults that could be a cause, and come out the same each time.
std::vector<std::string> all_faults() {
  std::vector<std::string> names;
  for (const Fault& fault : known_faults()) {
    if (!fault.cause.empty()) {
      names.emplace_back(fault.name);
    }
  }
  return names;
}

class OneTensorTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const auto& golden : test::golden_cases()) {
      if (golden.model.find("tiny") != std::string::npos) {
        auto view = gguf::View::open(golden.model_path);
        ASSERT_TRUE(view) << view.error().line();
        view_.emplace(std::move(*view));
        return;
      }
    }
    FAIL() << "no recording of a tiny model";
  }

  // Values of a wrong engine's run, but for those that `is_missing`.
  trace::Inputs wrong_inputs(const std::function<bool(const trace::TensorId&)>& is_missing) {
    Oracle plain = must_load({});
    const auto faulty = find_fault("norm_epsilon")->make(plain, {1, 0.5});
    auto writer = trace::SafetensorsWriter::create(folder_.path() / "tensors.safetensors",
                                                   trace::SafetensorsWriter::header_bytes(4096));
    EXPECT_TRUE(writer);
    for (const auto& [name, values] : whole_passes(*faulty)) {
      const auto id = *trace::TensorId::parse(name);
      if (!is_missing(id)) {
        EXPECT_TRUE(writer->add(name, shape_of(id, values.size()), values));
      }
    }
    EXPECT_TRUE(writer->finish());
    auto inputs = trace::Inputs::open(folder_.path());
    EXPECT_TRUE(inputs) << inputs.error().line();
    return std::move(*inputs);
  }

  trace::Shape shape_of(const trace::TensorId& id, size_t n_values) {
    const size_t n_piece = id.ubatch == 0 ? kUbatch : kTwoUbatches.size() - kUbatch;
    const auto n_tokens = static_cast<int64_t>(id.seq > 0 ? 1 : n_piece);
    if (id.stage != trace::Stage::kAttnScoresSoftmax) {
      return {n_tokens, static_cast<int64_t>(n_values) / n_tokens};
    }
    const int64_t n_heads = must_load({}).hyperparameters().n_heads;
    return {n_heads, n_tokens, static_cast<int64_t>(n_values) / n_heads / n_tokens};
  }

  Oracle must_load(const Settings& settings) {
    auto oracle = Oracle::load(*view_, settings);
    EXPECT_TRUE(oracle) << oracle.error().line();
    return std::move(*oracle);
  }

  ByName one_tensor(const char* name, const trace::Inputs* inputs, int n_threads = 2) {
    const OneTensor tensor{
        .id = *trace::TensorId::parse(name), .prompt = kTwoUbatches, .fed = kFed, .ubatch = kUbatch, .inputs = inputs};
    ByName values;
    const Status status =
        compute_with_faults(*view_, tensor, all_faults(), n_threads, [&](const TensorWithFault& with) {
          values[std::string(with.fault)].assign(with.values.begin(), with.values.end());
          return Status();
        });
    error_ = status ? "" : status.error().line();
    return values;
  }

  void expect_equal(const trace::Inputs* inputs, const std::vector<const char*>& names) {
    Settings settings;
    settings.inputs = inputs;
    const Oracle plain = must_load(settings);
    std::map<std::string, ByName> whole;
    for (const std::string& fault : all_faults()) {
      whole[fault] = whole_passes(*find_fault(fault)->make(plain, {1, std::nullopt}));
    }
    for (const char* name : names) {
      const ByName alone = one_tensor(name, inputs);
      EXPECT_EQ(error_, "");
      EXPECT_EQ(alone.size(), whole.size()) << name;
      for (const auto& [fault, values] : alone) {
        EXPECT_EQ(values, whole[fault][name]) << name << " with " << fault;
      }
    }
  }

  const test::TemporaryFolder folder_;
  std::optional<gguf::View> view_;
  std::string error_;
};

TEST_F(OneTensorTest, EqualsTheWholePassOnInputs) {
  const trace::Inputs inputs = wrong_inputs([](const trace::TensorId&) { return false; });
  expect_equal(&inputs, kNames);
}

TEST_F(OneTensorTest, EqualsTheWholePassWithoutInputs) { expect_equal(nullptr, {"blk0/k_rope", "u1/blk0/attn_out"}); }

TEST_F(OneTensorTest, InputsThatAreMissingAreComputed) {
  const trace::Inputs inputs = wrong_inputs([](const trace::TensorId& id) {
    return id.stage == trace::Stage::kAttnNorm || id.stage == trace::Stage::kKRope || id.stage == trace::Stage::kFfnInp;
  });
  expect_equal(&inputs, kNames);
}

// Where a layer is passed over in one pass and computed in the next, its cache has a hole.
TEST_F(OneTensorTest, AHoleInTheInputsIsAnError) {
  const trace::Inputs inputs =
      wrong_inputs([](const trace::TensorId& id) { return id == *trace::TensorId::parse("t1/blk0/out"); });
  EXPECT_THAT(one_tensor("t1/blk1/q_proj", &inputs), IsEmpty());
  EXPECT_THAT(error_, HasSubstr("layer 0"));
}

TEST_F(OneTensorTest, BadRequests) {
  EXPECT_EQ(one_tensor("blk99/q_proj", nullptr).at("rope_base"), std::vector<float>());  // no such tensor
  const OneTensor tensor{.id = *trace::TensorId::parse("blk0/q_proj"), .prompt = kTwoUbatches, .fed = {}};
  const auto ignore = [](const TensorWithFault&) { return Status(); };
  const auto error = [&](const OneTensor& of, const std::vector<std::string>& faults, const auto& take) {
    const Status status = compute_with_faults(*view_, of, faults, 1, take);
    return status ? std::string() : status.error().line();
  };
  EXPECT_THAT(error(tensor, {"no_such_fault"}, ignore), HasSubstr("no_such_fault"));
  EXPECT_THAT(
      error(tensor, {"rope_base"}, [](const TensorWithFault&) { return Status(invalid_input("out", "is full")); }),
      HasSubstr("is full"));
  OneTensor foreign = tensor;
  const std::vector<int32_t> ids = {1 << 30};
  foreign.prompt = ids;
  EXPECT_THAT(error(foreign, {"rope_base"}, ignore), HasSubstr("vocabulary"));
}

}  // namespace
}  // namespace tern::oracle
