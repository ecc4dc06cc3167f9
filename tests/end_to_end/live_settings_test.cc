// One llama.cpp on both sides, under two settings: --subject-option and --reference-option reach the engine, the
// reports and the line to reproduce.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "end_to_end/live_llama_cpp.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using test::Ended;
using test::json_in;
using testing::HasSubstr;

class LiveSettings : public test::LiveEngineTest {
 protected:
  void SetUp() override {
    LiveEngineTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) {
      return;
    }
    const Ended ended = tern({"synth", "--preset", "odd", "--arch", "llama", "--weights", "f16", "--tokenizer-out",
                              tokenizer_.string(), model_.string()});
    ASSERT_EQ(ended.exit_code, 0) << ended.output;
  }

  Ended sweep(const std::vector<std::string>& settings) const {
    std::vector<std::string> words = {
        "sweep", model_.string(), tokenizer_.string(), out_.string(),       "--reference", spec_,      "--subject",
        spec_,   "--only",        "scenario2",         "--check-reference", "never",       "--oracle", "never"};
    words.insert(words.end(), settings.begin(), settings.end());
    return tern(words);
  }
  Json run_settings(const char* run) const { return json_in(out_ / "scenario2" / run / "result.json").at("settings"); }

  fs::path model_ = folder_.path() / "m.gguf", tokenizer_ = folder_.path() / "tokenizer.json";
  fs::path out_ = folder_.path() / "out";
};

TEST_F(LiveSettings, OtherThreadsChangeNothing) {
  const Ended swept = sweep({"--subject-option", "threads=1", "--reference-option", "threads=2", "--exact"});
  ASSERT_EQ(swept.exit_code, 0) << swept.output;
  EXPECT_EQ(run_settings("rs-run").at("threads"), 1);
  EXPECT_EQ(run_settings("cpp-run").at("threads"), 2);
  const Json sweep = json_in(out_ / "sweep.json");
  EXPECT_EQ(sweep.at("subject").at("details").at("settings").at("threads"), "1");
  EXPECT_EQ(sweep.at("reference").at("details").at("settings").at("threads"), "2");
  const Json receipt = json_in(out_ / "scenario2" / "logits-comparison.json");
  EXPECT_EQ(receipt.at("subject").at("details").at("settings").at("threads"), "1");
  const auto parity = receipt.at("parity");
  EXPECT_EQ(parity.at("tensors_equal"), parity.at("tensors_expected"));
}

TEST_F(LiveSettings, AQuantizedCacheIsADifferenceAndIsReproduced) {
  const Ended swept = sweep({"--subject-option", "cache_type_k=q8_0", "--exact"});
  ASSERT_EQ(swept.exit_code, 1) << swept.output;
  EXPECT_THAT(swept.output, HasSubstr("--subject-option cache_type_k=q8_0"));
  const Json scenario = json_in(out_ / "sweep.json").at("scenarios").at(0);
  EXPECT_EQ(scenario.at("parity").at("first_divergence").at("name"), "blk0/attn_scores_softmax");
  EXPECT_THAT(scenario.at("repro").get<std::string>(), HasSubstr("--subject-option cache_type_k=q8_0"));
  EXPECT_EQ(run_settings("rs-run").at("cache_type_k"), "q8_0");
  EXPECT_EQ(run_settings("cpp-run").at("cache_type_k"), "f16");
}

TEST_F(LiveSettings, FlashAttentionHasNoScores) {
  sweep({"--subject-option", "flash_attention=on"});
  EXPECT_EQ(run_settings("rs-run").at("flash_attention"), "on");
  EXPECT_FALSE(json_in(out_ / "scenario2/rs-run/result.json").at("stage_counts").contains("attn_scores_softmax"));
  EXPECT_TRUE(json_in(out_ / "scenario2/cpp-run/result.json").at("stage_counts").contains("attn_scores_softmax"));
}

TEST_F(LiveSettings, WhatTheEngineRefusesIsOneLine) {
  const Ended swept = sweep({"--subject-option", "cache_type_v=q8_0"});
  EXPECT_EQ(swept.exit_code, 4) << swept.output;
  EXPECT_THAT(swept.output, HasSubstr("\"cache_type_v\":\"q8_0\""));
  EXPECT_THAT(swept.output, HasSubstr("requires flash_attn"));
  fs::remove_all(out_);
  const Ended with_both = sweep({"--subject-option", "cache_type_v=q8_0", "--subject-option", "flash_attention=on"});
  EXPECT_NE(with_both.exit_code, 4) << with_both.output;
  EXPECT_EQ(run_settings("rs-run").at("cache_type_v"), "q8_0");
}

TEST_F(LiveSettings, WrongOnesNameTheNearest) {
  const Ended key = sweep({"--reference-option", "cpu_varant=haswell"});
  EXPECT_EQ(key.exit_code, 2) << key.output;
  EXPECT_THAT(key.output, HasSubstr("did you mean 'cpu_variant'?"));
  const Ended value = sweep({"--subject-option", "cache_type_k=q8"});
  EXPECT_EQ(value.exit_code, 2) << value.output;
  EXPECT_THAT(value.output, HasSubstr("did you mean 'q8_0'?"));
  EXPECT_FALSE(fs::exists(out_ / "sweep.json"));
}

TEST_F(LiveSettings, AreToldByTheReferenceCheck) {
  const Ended check = tern({"reference", "check", "--reference", spec_, "--reference-option", "threads=1", "--model",
                            model_.string(), "--tokenizer", tokenizer_.string(), "--oracle", "never", "--json"},
                           folder_.path() / "check.json");
  ASSERT_EQ(check.exit_code, 0) << check.output;
  const auto text = read_file(folder_.path() / "check.json", 1 << 22);
  ASSERT_TRUE(text);
  const auto json = parse_json(std::string_view(*text).substr(std::min(text->find("{\n"), text->size())), "check.json");
  ASSERT_TRUE(json) << json.error().line();
  EXPECT_EQ(json->at("reference").at("details").at("settings").at("threads"), "1");
}

TEST_F(LiveSettings, BisectSettingsNamesTheOneThatCounts) {
  const Ended found =
      tern({"bisect", "settings", "--model", model_.string(), "--tokenizer", tokenizer_.string(), "--subject", spec_,
            "--exact", "--set", "threads=1,2", "--set", "cache_type_k=f16,q8_0", "--set", "ubatch=512,256", "--json"},
           folder_.path() / "found.json");
  ASSERT_EQ(found.exit_code, 0) << found.output;
  const auto text = read_file(folder_.path() / "found.json", 1 << 22);
  ASSERT_TRUE(text);
  const auto json = parse_json(std::string_view(*text).substr(std::min(text->find("{\n"), text->size())), "found.json");
  ASSERT_TRUE(json) << json.error().line();
  ASSERT_EQ(json->at("changes").size(), 1U) << *json;
  EXPECT_EQ(json->at("changes")[0].at("name"), "cache_type_k");
  EXPECT_EQ(json->at("changes")[0].at("bad"), "q8_0");
  EXPECT_EQ(json->at("first_divergence"), "blk0/attn_scores_softmax");
}

}  // namespace
}  // namespace tern
