// Every node of a llama.cpp that really runs, on architectures without a row in arch/: one engine under two settings,
// and two models that differ in one weight of one expert.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iostream>

#include "end_to_end/live_llama_cpp.h"
#include "end_to_end/random_model.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using test::Ended;
using test::json_in;
using test::RandomModel;
using testing::HasSubstr;

const RandomModel kDense = {.architecture = "qwen3"};
const RandomModel kExperts = {.architecture = "qwen3moe", .n_ff = 64, .n_experts = 8};

// One scenario by token ids, so that no tokenizer plays a part.
constexpr const char* kOneByIds = R"(
[[scenario]]
name = "ids"
token_ids = [266, 72, 101, 108, 108, 111, 32, 256]
max_tokens = 3
)";

class LiveNodes : public test::LiveEngineTest {
 protected:
  fs::path written(const RandomModel& model, const std::string& name = "model.gguf") {
    const fs::path path = folder_.path() / name;
    const Status status = test::write_random_model(path, model);
    EXPECT_TRUE(status) << status.error().line();
    return path;
  }

  // llama.cpp on both sides, with one setting changed for the reference. Returns what `tern compare` says of the runs.
  Json swept(const RandomModel& model, const std::string& setting, const std::string& other, int exit_code) {
    const fs::path path = written(model), scenarios = folder_.path() / "scenarios.toml", out = folder_.path() / "out";
    EXPECT_TRUE(write_file(scenarios, kOneByIds));
    std::vector<std::string> arguments = {"sweep", path.string(), path.string(), out.string(), "--subject", spec_};
    arguments.insert(arguments.end(),
                     {"--reference", spec_, "--stages", "all", "--exact", "--check-reference", "never"});
    arguments.insert(arguments.end(), {"--scenarios", scenarios.string(), "--dump-tensors", "--threads", "1"});
    arguments.insert(arguments.end(), {"--subject-option", setting, "--reference-option", other});
    const Ended ended = tern(arguments);
    EXPECT_EQ(ended.exit_code, exit_code) << ended.output;
    report_ = read_file(out / "ids" / "report.txt", 1 << 20).value_or("");
    const Json json = compared(out / "ids" / "rs-run", out / "ids" / "cpp-run");
    print(model.architecture + ", " + setting + " and " + other, json, out / "ids" / "rs-run", out / "ids" / "cpp-run");
    return json;
  }

  Json compared(const fs::path& a, const fs::path& b) {
    const fs::path file = folder_.path() / "compare.json";
    tern({"compare", a.string(), b.string(), "--json", "--exact"}, file);
    return json_in(file);
  }

  // The three figures: nodes in the graphs, recorded, compared; they agree, but for what is named.
  static void print(const std::string& what, const Json& json, const fs::path& a, const fs::path& b) {
    const Json& coverage = json.at("coverage");
    std::cout << what << ":\n";
    int n_recorded = 0;
    for (const fs::path& run : {a, b}) {
      const Json nodes = json_in(run / "result.json").at("graph_nodes");
      EXPECT_EQ(nodes.at("all").get<int>(),
                nodes.at("without_own_values").get<int>() + nodes.at("recorded").get<int>());
      n_recorded += nodes.at("recorded").get<int>();
      std::cout << "    " << run.filename().string() << ": " << nodes.at("all") << " nodes, "
                << nodes.at("without_own_values") << " of them views and reshapes, " << nodes.at("recorded")
                << " recorded\n";
    }
    const int n_compared = coverage.at("tensors_compared"), n_single = coverage.at("tensors_of_one_graph");
    EXPECT_EQ(n_recorded, 2 * n_compared + n_single);
    EXPECT_EQ(coverage.at("tensors_expected"), n_compared);
    std::cout << "    " << n_compared << " compared, " << n_single << " in one of the graphs only, "
              << json.at("hash_equal") << " equal by hash; first difference: " << first_difference(json) << "\n";
  }

  static std::string first_difference(const Json& json) {
    const Json& first = json.at("first_hash_difference");
    return first.is_null() ? "none" : first.at("name").get<std::string>();
  }

  std::string report_;
};

TEST_F(LiveNodes, MoreThreadsChangeNoNode) {
  for (const RandomModel& model : {kDense, kExperts}) {
    const Json json = swept(model, "threads=1", "threads=2", 0);
    EXPECT_EQ(json.at("verdict"), "match");
    EXPECT_EQ(json.at("hash_equal"), json.at("coverage").at("tensors_expected"));
    EXPECT_GE(json.at("hash_equal"), 3 * 50);
    EXPECT_EQ(json.at("coverage").at("tensors_of_one_graph"), 0);
    EXPECT_THAT(report_, HasSubstr("cannot compute this model"));  // why the oracle is not asked
    fs::remove_all(folder_.path() / "out");
  }
}

// A vocabulary that tern cannot read: llama.cpp tokenizes the prompt itself.
TEST_F(LiveNodes, TheEnginesTokenizeWhereTernCannot) {
  RandomModel model = kDense;
  model.pre_tokenizer = "viking";
  const fs::path path = written(model), out = folder_.path() / "out";
  const Ended ended =
      tern({"sweep", path.string(), path.string(), out.string(), "--subject", spec_, "--reference", spec_, "--stages",
            "all", "--check-reference", "never", "--only", "scenario2", "--threads", "1"});
  EXPECT_EQ(ended.exit_code, 0) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("tern cannot read the vocabulary"));
  const Json json = compared(out / "scenario2" / "rs-run", out / "scenario2" / "cpp-run");
  EXPECT_EQ(json.at("verdict"), "match");
  const Ended own = tern({"sweep", path.string(), path.string(), (folder_.path() / "own").string()});
  EXPECT_EQ(own.exit_code, 3) << own.output;
}

TEST_F(LiveNodes, FlashAttentionChangesTheGraphAndTheNodeIsNamed) {
  for (const RandomModel& model : {kDense, kExperts}) {
    const Json json = swept(model, "flash_attention=off", "flash_attention=on", 1);
    EXPECT_GT(json.at("coverage").at("tensors_of_one_graph"), 0);
    EXPECT_EQ(json.at("first_divergence").at("name"), first_difference(json));
    EXPECT_THAT(report_, HasSubstr(first_difference(json)));
    fs::remove_all(folder_.path() / "out");
  }
}

TEST_F(LiveNodes, AQuantizedKeyCacheIsNamed) {
  for (const RandomModel& model : {kDense, kExperts}) {
    const Json json = swept(model, "cache_type_k=f16", "cache_type_k=q8_0", 1);
    EXPECT_EQ(first_difference(json), "cache_k_l0 (view)");
    EXPECT_THAT(report_, HasSubstr("cache_k_l0 (view)"));
    fs::remove_all(folder_.path() / "out");
  }
}

TEST_F(LiveNodes, OneWeightOfOneExpertIsNamed) {
  const auto record = [&](const RandomModel& model, const std::string& name) {
    const fs::path out = folder_.path() / name;
    const Ended ended = run({adapter_, "--model", written(model, name + ".gguf").string(), "--token-ids",
                             "266,72,101,108,108,111,32,256", "--max-tokens", "3", "--threads", "1", "--stages", "all",
                             "--dump-tensors", "--out", out.string()});
    EXPECT_EQ(ended.exit_code, 0) << ended.output;
    return out;
  };
  const fs::path plain = record(kExperts, "plain");
  for (const char* part : {"gate", "up", "down"}) {
    RandomModel model = kExperts;
    model.altered_tensor = std::string("blk.1.ffn_") + part + "_exps.weight";
    model.altered_place = 3 * uint64_t{model.n_ff} * model.n_embd + 17;  // of expert 3
    const fs::path altered = record(model, part);
    const Json json = compared(altered, plain);
    print(model.altered_tensor, json, altered, plain);
    EXPECT_EQ(json.at("verdict"), "diverged");
    EXPECT_EQ(json.at("first_divergence").at("name"), std::string("blk1/ffn_moe_") + part);
    EXPECT_EQ(json.at("first_divergence").at("layer"), 1);
    EXPECT_EQ(first_difference(json), std::string("blk1/ffn_moe_") + part);
  }
}

}  // namespace
}  // namespace tern
