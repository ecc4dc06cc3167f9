// Sweeps against a llama.cpp that really runs, on models that both can compute.
#include "end_to_end/live_llama_cpp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iostream>
#include <set>

#include "tern/base/file.h"
#include "tern/base/json.h"
#include "tern/trace/safetensors.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using test::Ended;
using test::json_in;
using testing::HasSubstr;

// How far the first product may be off, relative to its RMS. In float16 llama.cpp rounds the activations to 11 bits as
// well, and tern does not, in a batch; in float32 only the order of sums differs.
constexpr double kHalfRounding = 0x1p-11;
constexpr double kFloatRounding = 1e-6;

// Where activations are rounded to integers, the last bit of a sum decides now and then between two steps of 1/127, and
// the layers behind it amplify that.
constexpr double kIntegerCosine = 0.999;

constexpr const char* kScenarios[] = {"scenario1", "scenario2", "scenario3"};

class LiveLlamaCpp : public test::LiveEngineTest {
 protected:
  fs::path synthetic_model(const std::string& architecture, const std::string& encoding,
                           const std::string& preset = "odd") {
    tokenizer_ = folder_.path() / "tokenizer.json";
    const fs::path model = folder_.path() / (architecture + "-" + encoding + ".gguf");
    const Ended ended = tern({"synth", "--preset", preset, "--arch", architecture, "--weights", encoding,
                              "--tokenizer-out", tokenizer_.string(), model.string()});
    EXPECT_EQ(ended.exit_code, 0) << ended.output;
    return model;
  }

  // The three built-in scenarios, or those of a file, with every stage of every layer seen on both sides.
  void expect_parity(const fs::path& model, int n_layers, int stages_per_layer, double rounding,
                     const fs::path& scenarios = {}, double least_cosine = 0.9999) const;
  void expect_complete_run(const fs::path& scenario, int n_layers, int stages_per_layer, int n_passes) const;
  void expect_sized_first_difference(const fs::path& scenario, double rounding) const;

  fs::path tokenizer_;
};

void LiveLlamaCpp::expect_parity(const fs::path& model, int n_layers, int stages_per_layer, double rounding,
                                 const fs::path& scenarios, double least_cosine) const {
  const fs::path out = folder_.path() / ("out-" + model.stem().string());
  std::vector<std::string> arguments = {
      "sweep", model.string(),        tokenizer_.string(), out.string(), "--reference", spec_, "--threads",
      "1",     "--require-reference", "--dump-tensors"};
  if (!scenarios.empty()) {
    arguments.insert(arguments.end(), {"--scenarios", scenarios.string()});
  }
  const Ended swept = tern(arguments);
  ASSERT_EQ(swept.exit_code, 0) << swept.output;
  for (const auto& [name, max_tokens] : {std::pair(kScenarios[0], 1), {kScenarios[1], 2}, {kScenarios[2], 4}}) {
    SCOPED_TRACE(name);
    const Json receipt = json_in(out / name / "logits-comparison.json");
    const Json parity = receipt.at("parity");
    const int n_tensors = max_tokens * (n_layers * stages_per_layer + 3);
    EXPECT_EQ(parity.at("status"), "ok");
    EXPECT_EQ(parity.at("exact_match_rate"), 1.0);
    EXPECT_GE(parity.at("cosine_similarity").get<double>(), least_cosine);
    EXPECT_EQ(parity.at("tensors_expected"), n_tensors);
    EXPECT_EQ(parity.at("tensors_compared"), n_tensors);
    EXPECT_EQ(parity.at("stages_expected"), stages_per_layer + 3);
    EXPECT_EQ(parity.at("stages_compared"), stages_per_layer + 3);
    EXPECT_EQ(parity.at("tokens_compared"), max_tokens);
    EXPECT_EQ(parity.at("positions_compared"), parity.at("positions_expected"));
    EXPECT_GE(parity.at("positions_compared").get<int>(), max_tokens);
    expect_complete_run(out / name, n_layers, stages_per_layer, max_tokens);
    std::cout << model.filename().string() << " " << name << ": " << parity.at("tensors_compared") << " of "
              << parity.at("tensors_expected") << " tensors compared, " << parity.at("tensors_equal")
              << " equal by hash, " << parity.at("positions_compared") << " of " << parity.at("positions_expected")
              << " rows of logits, smallest cosine " << parity.at("cosine_similarity") << "\n";
    expect_sized_first_difference(out / name, rounding);
  }
}

// No stage is missing and none is unknown: the adapter's own count, from the graph's callback, of each.
void LiveLlamaCpp::expect_complete_run(const fs::path& scenario, int n_layers, int stages_per_layer,
                                       int n_passes) const {
  const Json counts = json_in(scenario / "cpp-run" / "result.json").at("stage_counts");
  EXPECT_EQ(counts.size(), static_cast<size_t>(stages_per_layer + 3)) << counts;
  const std::set<std::string> once = {"embeddings", "output_norm", "logits"};
  for (const auto& [stage, count] : counts.items()) {
    EXPECT_EQ(count, once.contains(stage) ? n_passes : n_passes * n_layers) << stage;
  }
  for (const char* stage : {"q_rope", "k_rope", "attn_scores_softmax", "ffn_act", "down_proj"}) {
    EXPECT_TRUE(counts.contains(stage)) << stage;
  }
}

// Where the bits differ first, by how much, and that everything before has equal ones.
void LiveLlamaCpp::expect_sized_first_difference(const fs::path& scenario, double rounding) const {
  const fs::path file = scenario / "compare.json";
  const Ended compared =
      tern({"compare", (scenario / "rs-run").string(), (scenario / "cpp-run").string(), "--json"}, file);
  ASSERT_EQ(compared.exit_code, 0) << compared.output;
  const Json json = json_in(file);
  EXPECT_EQ(json.at("verdict"), "within_tolerance");
  EXPECT_TRUE(json.at("first_divergence").is_null());
  ASSERT_FALSE(json.at("first_hash_difference").is_null());
  const std::string name = json.at("first_hash_difference").at("name");
  double rope_error = 0, largest = 0;
  bool found = false;
  for (const Json& tensor : json.at("tensors")) {
    const Json& metrics = tensor.at("metrics");
    const double error = metrics.at("relative_error");
    largest = std::max(largest, error);
    if (tensor.at("name") == "blk0/q_rope" || tensor.at("name") == "blk0/k_rope") {
      rope_error = std::max(rope_error, error);
    }
    if (!found && tensor.at("name") == name) {
      found = true;
      EXPECT_FALSE(tensor.at("hash_equal").get<bool>());
      EXPECT_GT(metrics.at("n_different").get<int>(), 0);
      EXPECT_GT(error, 0);
      EXPECT_LT(error, rounding) << "more than rounding, at the first difference already";
      std::cout << "    first difference: " << name << ", " << metrics.at("n_different") << " of " << metrics.at("n")
                << " values, relative error " << error << ", largest difference " << metrics.at("max_abs") << "\n";
    } else if (!found) {
      EXPECT_TRUE(tensor.at("hash_equal").get<bool>()) << tensor.at("name");
    }
  }
  EXPECT_TRUE(found) << name;
  EXPECT_LT(rope_error, 2 * rounding) << "the wrong halves or neighbours are turned";
  std::cout << "    largest relative error of any tensor: " << largest << "\n";
}

using LiveLlamaCppDeep = LiveLlamaCpp;

TEST_F(LiveLlamaCppDeep, AgreesOnLlamaInFloat16) {
  expect_parity(synthetic_model("llama", "f16"), 3, 16, kHalfRounding);
}

TEST_F(LiveLlamaCppDeep, AgreesOnLlamaInFloat32) {
  expect_parity(synthetic_model("llama", "f32"), 3, 16, kFloatRounding);
}

// Ternary values in float16, sub-norms, SiLU, tied output matrix.
TEST_F(LiveLlamaCppDeep, AgreesOnBitnet) { expect_parity(synthetic_model("bitnet", "f16"), 3, 18, kHalfRounding); }

TEST_F(LiveLlamaCppDeep, AgreesOnLlamaInQ8_0) {
  expect_parity(synthetic_model("llama", "q8_0", "tiny"), 4, 16, kFloatRounding, {}, kIntegerCosine);
}

// Ternary codes, which both sides multiply with activations that are rounded to int8 in blocks of 256.
TEST_F(LiveLlamaCpp, AgreesOnBitnetInTq2_0) {
  expect_parity(synthetic_model("bitnet", "tq2_0", "tiny"), 4, 18, kFloatRounding, {}, kIntegerCosine);
}

TEST_F(LiveLlamaCpp, AgreesOnATrainedModel) {
  const fs::path model = test::shared_data_dir() / "stories260K.gguf";
  if (!fs::exists(model)) {
    GTEST_SKIP() << model << " is not there";
  }
  tokenizer_ = model;
  expect_parity(model, 5, 16, kFloatRounding);
}

// The prompt's ids given, so that neither tokenizer plays a part.
TEST_F(LiveLlamaCpp, AgreesOnATrainedModelByTokenIds) {
  const fs::path model = test::shared_data_dir() / "stories260K.gguf";
  if (!fs::exists(model)) {
    GTEST_SKIP() << model << " is not there";
  }
  const fs::path scenarios = folder_.path() / "scenarios.toml";
  ASSERT_TRUE(write_file(scenarios, R"(
[[scenario]]
name = "scenario1"
token_ids = [1, 403, 407, 261, 378]
max_tokens = 1
[[scenario]]
name = "scenario2"
token_ids = [1]
max_tokens = 2
[[scenario]]
name = "scenario3"
token_ids = [1, 410, 457, 303, 364, 511, 259]
max_tokens = 4
)"));
  tokenizer_ = model;
  expect_parity(model, 5, 16, kFloatRounding, scenarios);
}

// llama.cpp is given what a faulty subject recorded: its operations differ where the fault is, and nowhere else.
TEST_F(LiveLlamaCpp, ComputesFromTheSubjectsInputs) {
  const fs::path model = synthetic_model("llama", "f32");
  const fs::path out = folder_.path() / "out";
  const Ended swept = tern({"sweep", model.string(), tokenizer_.string(), out.string(), "--reference", spec_,
                            "--threads", "1", "--check-reference", "never", "--only", "scenario2", "--subject",
                            "command:'" + test::tern_binary().string() +
                                "' run --engine oracle --ignore-eos --dump-tensors --fault rope_base"});
  ASSERT_EQ(swept.exit_code, 1) << swept.output;
  const auto text = read_file(out / "sweep.json", uint64_t{64} << 20);
  ASSERT_TRUE(text) << text.error().line();
  const auto json = nlohmann::json::parse(*text);
  const nlohmann::json& arbitration = json["scenarios"][0]["arbitration"];
  EXPECT_EQ(arbitration["same_inputs_of"], "subject") << arbitration["no_same_inputs_because"];
  size_t n_faulty = 0;
  for (const auto& stage : arbitration["stages"]) {
    ASSERT_FALSE(stage["on_same_inputs"].is_null()) << stage;
    const double multiple = stage["on_same_inputs"]["multiple_of_floor"];
    if (stage["name"].get<std::string>().ends_with("_rope")) {
      n_faulty += multiple > 1000 ? 1U : 0U;
    } else {
      EXPECT_LT(multiple, 8) << stage;
    }
  }
  EXPECT_GE(n_faulty, 6U);  // the first position is turned by nothing
}

// Float32 rows of a run's logits.
std::vector<float> logits_of(const fs::path& run) {
  const auto file = trace::Safetensors::open(run / "logits.safetensors");
  EXPECT_TRUE(file) << file.error().line();
  const trace::Safetensors::Entry* const entry = file ? file->find("logits") : nullptr;
  return entry != nullptr ? std::vector<float>(entry->values.begin(), entry->values.end()) : std::vector<float>();
}

TEST_F(LiveLlamaCpp, TeacherForcingWithItsOwnTokensChangesNothing) {
  const fs::path model = synthetic_model("llama", "f16");
  const auto generate = [&](const std::string& name, std::vector<std::string> more) {
    std::vector<std::string> argv = {adapter_,
                                     "--model",
                                     model.string(),
                                     "--prompt",
                                     "Hello",
                                     "--max-tokens",
                                     "6",
                                     "--threads",
                                     "1",
                                     "--out",
                                     (folder_.path() / name).string()};
    argv.insert(argv.end(), more.begin(), more.end());
    const Ended ended = run(argv);
    EXPECT_EQ(ended.exit_code, 0) << ended.output;
    return json_in(folder_.path() / name / "result.json");
  };
  const auto text_of = [](const std::vector<int>& tokens) {
    std::string text;
    for (const int token : tokens) text += (text.empty() ? "" : ",") + std::to_string(token);
    return text;
  };
  const Json free_run = generate("free", {});
  auto teacher = free_run.at("generated_tokens").get<std::vector<int>>();
  ASSERT_EQ(teacher.size(), 6U);
  teacher.pop_back();  // nothing follows the last
  const Json same = generate("same", {"--teacher-tokens", text_of(teacher)});
  EXPECT_EQ(same.at("generated_tokens"), free_run.at("generated_tokens"));
  EXPECT_EQ(same.at("teacher_tokens").get<std::vector<int>>(), teacher);
  const std::vector<float> expected = logits_of(folder_.path() / "free");
  ASSERT_EQ(expected.size() % (free_run.at("prompt_tokens").size() + 5), 0U);
  EXPECT_EQ(logits_of(folder_.path() / "same"), expected);

  // And it does what it should: another first token leaves the prompt's rows as they are and changes all after them.
  const auto n_vocab = expected.size() / (free_run.at("prompt_tokens").size() + 5);
  const auto n_prompt = static_cast<std::ptrdiff_t>(free_run.at("prompt_tokens").size() * n_vocab);
  teacher.front() = (teacher.front() + 1) % 256;
  generate("other", {"--teacher-tokens", text_of(teacher)});
  const std::vector<float> other = logits_of(folder_.path() / "other");
  ASSERT_EQ(other.size(), expected.size());
  EXPECT_TRUE(std::equal(other.begin(), other.begin() + n_prompt, expected.begin()));
  for (auto row = n_prompt; row < std::ssize(other); row += static_cast<std::ptrdiff_t>(n_vocab)) {
    EXPECT_FALSE(std::equal(other.begin() + row, other.begin() + row + static_cast<std::ptrdiff_t>(n_vocab),
                            expected.begin() + row))
        << row;
  }
}

}  // namespace
}  // namespace tern
