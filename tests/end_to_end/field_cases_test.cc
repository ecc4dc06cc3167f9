// Situations that users of engines and tools like ours have reported, through the real binary, and what it prints.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/paths.h"
#include "support/run_program.h"
#include "tern/base/file.h"
#include "tern/base/json.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

using test::Ended;
using testing::HasSubstr;
using testing::Not;

class FieldCases : public testing::Test {
 protected:
  FieldCases()
      : model_((test::golden_dir() / "models" / "tiny-i2_s.gguf").string()),
        tokenizer_((test::golden_dir() / "models" / "tokenizer.json").string()),
        recording_(test::golden_dir() / "tiny-i2_s" / "scenario1") {}

  Ended tern(std::vector<std::string> arguments) {
    ChildCommand command = test::tern_command(std::move(arguments));
    command.output_path = folder_.path() / "output.txt";
    Ended ended = test::run_program(command);
    ended.output = read_file(command.output_path, uint64_t{64} << 20).value_or("");  // all of it
    return ended;
  }
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }

  // An engine that answers with the recording after `change`, a shell command with its folder as $0.
  std::string engine(const std::string& change) {
    const std::string script = path("engine.sh");
    EXPECT_TRUE(write_file(script, "cp '" + recording_.string() + "'/* \"$0\"\n" + change + "\n"));
    return "command:sh -c '. " + script + "' {out}";
  }
  Ended sweep(const std::string& reference, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"sweep",    model_,   tokenizer_,  path("out"),         "--reference",
                                          reference,  "--only", "scenario1", "--check-reference", "never",
                                          "--oracle", "never"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return tern(arguments);
  }
  Json parity() {
    const auto receipt = read_json_file(folder_.path() / "out" / "scenario1" / "logits-comparison.json");
    EXPECT_TRUE(receipt) << receipt.error().line();
    return receipt ? (*receipt)["parity"] : Json();
  }

  test::TemporaryFolder folder_;
  std::string model_, tokenizer_;
  fs::path recording_;
};

TEST_F(FieldCases, AVocabularyWithoutItsPreTokenizerIsNamed) {
  std::string bytes = read_file(model_, uint64_t{64} << 20).value_or("");
  const size_t key = bytes.find("tokenizer.ggml.pre");
  ASSERT_NE(key, std::string::npos);
  bytes[key + 17] = 'x';
  ASSERT_TRUE(write_file(path("no_pre.gguf"), bytes));
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"validate", path("no_pre.gguf"), tokenizer_},
        std::vector<std::string>{"sweep", path("no_pre.gguf"), tokenizer_, path("out"), "--reference", "none", "--only",
                                 "scenario1"}}) {
    const Ended ended = tern(arguments);
    EXPECT_EQ(ended.exit_code, arguments[0] == "validate" ? 1 : 0);
    EXPECT_THAT(ended.output, HasSubstr("where the first piece that differs is ' the' [262] by the tokenizer.json and "
                                        "' the' [32, 261] by the GGUF"));
    EXPECT_THAT(ended.output, HasSubstr("the GGUF lacks the key tokenizer.ggml.pre"));
  }
  // The cause of other ids of one prompt: one side has those of the model's own vocabulary.
  ASSERT_TRUE(write_file(folder_.path() / "tokenizer.json", read_file(tokenizer_, 1 << 20).value_or("")));
  for (const char* side : {"json", "gguf"}) {
    const std::string words = side == std::string("json") ? tokenizer_ : path("no_pre.gguf");
    ASSERT_EQ(tern({"run", "--model", path("no_pre.gguf"), "--tokenizer", words, "--prompt", "over the lazy",
                    "--max-tokens", "1", "--out", path(side), "--dump-tensors"})
                  .exit_code,
              0);
  }
  const Ended compared = tern({"compare", path("json"), path("gguf"), "--model", path("no_pre.gguf"), "--json"});
  EXPECT_EQ(compared.exit_code, 1) << compared.output;
  const nlohmann::json json = nlohmann::json::parse(compared.output);
  EXPECT_EQ(json["first_divergence"], "tokens");
  ASSERT_FALSE(json["cause"].is_null()) << compared.output;
  EXPECT_THAT(json["cause"]["evidence"].get<std::string>(), HasSubstr("the GGUF lacks the key tokenizer.ggml.pre"));
}

TEST_F(FieldCases, BosTwiceIsAWarning) {
  const auto output_of = [&](const std::string& prompt, const std::string& option) {
    std::vector<std::string> arguments = {"run", "--model", model_, "--tokenizer", tokenizer_, "--max-tokens", "1"};
    arguments.insert(arguments.end(),
                     {prompt.starts_with("1,") || prompt.starts_with("266") ? "--token-ids" : "--prompt", prompt});
    if (!option.empty()) {
      arguments.push_back(option);
    }
    const Ended ended = tern(arguments);
    EXPECT_EQ(ended.exit_code, 0) << ended.output;
    return ended.output;
  };
  EXPECT_THAT(output_of("<|begin_of_text|>the end", ""),
              HasSubstr("the prompt begins with BOS twice (id 266, <|begin_of_text|>): the text spells it"));
  EXPECT_THAT(output_of("266,266,5", ""), HasSubstr("the prompt begins with BOS twice"));
  EXPECT_THAT(output_of("<|begin_of_text|>the end", "--no-bos"), Not(HasSubstr("BOS")));
  EXPECT_THAT(output_of("the end<|begin_of_text|>", ""), Not(HasSubstr("BOS")));
}

TEST_F(FieldCases, WhatAnEngineStopsTracingIsNoPass) {
  const std::string less =
      "grep -v 'blk[1-9]/' \"$0/trace.jsonl\" >\"$0/t\" && mv \"$0/t\" \"$0/trace.jsonl\"; rm -f "
      "\"$0/tensors.safetensors\"";
  const Ended ended = sweep(engine(less));
  EXPECT_THAT(ended.exit_code, testing::AnyOf(1, 5)) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("scenario1, not compared: "));
  EXPECT_THAT(ended.output, HasSubstr("the reference has not traced"));
  EXPECT_THAT(ended.output, HasSubstr("the first is blk1/attn_norm"));
  EXPECT_GT(parity()["tensors_missing"], 10);
  EXPECT_NE(parity()["status"], "ok");
  const Ended allowed = sweep(engine(less), {"--allow-missing", "blk[1-9]/*"});
  EXPECT_EQ(allowed.exit_code, 0) << allowed.output;
}

TEST_F(FieldCases, NanInARecordIsAFindingAndNoSyntaxError) {
  const Ended ended = sweep(engine("sed -i '/\"blk1\\/q_proj\"/s/\"rms\":[^,]*/\"rms\":NaN/' \"$0/trace.jsonl\"; rm -f "
                                   "\"$0/tensors.safetensors\""),
                            {"--tolerant"});
  EXPECT_THAT(ended.output, HasSubstr("the reference: 1 of its trace records state an RMS that is NaN or infinite: "
                                      "blk1/q_proj"));
  EXPECT_THAT(ended.exit_code, testing::AnyOf(1, 5)) << ended.output;
}

// The order in which ggml gives dimensions: of an engine with values and the oracle's opinion, too.
TEST_F(FieldCases, ShapesInGgmlsOrderAreNoDivergence) {
  const std::string turned =
      engine("sed -i -E 's/\"shape\": ?\\[([0-9]+), ?([0-9]+)\\]/\"shape\":[\\2,\\1]/' \"$0/trace.jsonl\"");
  for (const char* oracle : {"never", "always"}) {
    std::vector<std::string> arguments = {"sweep",    model_,   tokenizer_,  path("out"),         "--reference",
                                          turned,     "--only", "scenario1", "--check-reference", "never",
                                          "--oracle", oracle};
    const Ended ended = tern(arguments);
    EXPECT_EQ(ended.exit_code, 0) << ended.output;
    EXPECT_THAT(ended.output, HasSubstr("tensors have the same values, the shape reversed: embeddings is [5, "));
  }
  EXPECT_EQ(parity()["arbiter"]["wrong"], "neither");
  EXPECT_EQ(parity()["arbiter"]["reference_tensors"], parity()["tensors_expected"]);
}

TEST_F(FieldCases, RecordsMayLeaveOutWhatTheValuesGive) {
  ASSERT_EQ(tern({"run", "--model", model_, "--tokenizer", tokenizer_, "--prompt", "2+2=", "--max-tokens", "1", "--out",
                  path("run"), "--dump-tensors", "--ignore-eos"})
                .exit_code,
            0);
  recording_ = path("run");
  for (const char* change : {"rm -f \"$0\"/*.trace", "sed -i 's/\"blake3\":\"[0-9a-f]*\",//' \"$0\"/*.trace"}) {
    const Ended ended = sweep(engine(change));
    ASSERT_EQ(ended.exit_code, 0) << ended.output;
    EXPECT_EQ(parity()["tensors_equal"], parity()["tensors_expected"]);
    const fs::path traces = folder_.path() / "out" / "scenario1" / "cpp-traces";
    EXPECT_EQ(std::distance(fs::directory_iterator(traces), fs::directory_iterator()),
              parity()["tensors_expected"].get<long>());
  }
}

TEST_F(FieldCases, AScenarioThatTheRecordingLacksIsWarnedOfAndNoPass) {
  ASSERT_TRUE(write_file(path("own.toml"),
                         "[[scenario]]\nname = \"held\"\nprompt = \"2+2=\"\nmax_tokens = 1\n"
                         "[[scenario]]\nname = \"mine\"\nprompt = \"the end\"\nmax_tokens = 1\n"));
  const fs::path bundled = test::bundled_model_dir();
  std::vector<std::string> arguments = {"sweep",
                                        (bundled / "tern-tiny-i2_s.gguf").string(),
                                        (bundled / "tokenizer.json").string(),
                                        path("out"),
                                        "--scenarios",
                                        path("own.toml"),
                                        "--oracle",
                                        "never",
                                        "--only",
                                        "mine"};
  for (const bool chosen : {false, true}) {
    if (chosen) {
      arguments.insert(arguments.end(), {"--reference", "pack:" + (bundled / "reference").string()});
    }
    const Ended ended = tern(arguments);
    EXPECT_EQ(ended.exit_code, 5) << ended.output;
    EXPECT_THAT(ended.output, HasSubstr("warning: mine: nothing was compared: "));
  }
}

TEST_F(FieldCases, APatternThatMatchesNoStageIsRefusedBeforeAnythingRuns) {
  ASSERT_TRUE(write_file(path("t.toml"), "[[tolerance]]\nstage = \"atn_*\"\nmax_relative_error = 0.1\n"));
  const Ended ended = sweep("none", {"--tolerances", path("t.toml")});
  EXPECT_EQ(ended.exit_code, 2);
  EXPECT_THAT(ended.output, HasSubstr("t.toml line 2: stage: the pattern 'atn_*' matches no stage"));
  EXPECT_FALSE(fs::exists(path("out") + "/scenario1"));
  EXPECT_EQ(sweep("none", {"--allow-missing", "blk99/*"}).exit_code, 2);
  EXPECT_EQ(sweep(engine(""), {"--tolerances", path("t.toml")}).exit_code, 2) << "an engine with stages of its own";
  EXPECT_EQ(
      sweep(engine("sed -i 's/\"blk0\\/out\"/\"blk0\\/atn_x\"/; s/\"stage\":\"out\",//' \"$0/trace.jsonl\"; rm -f "
                   "\"$0/tensors.safetensors\""),
            {"--tolerances", path("t.toml"), "--allow-missing", "atn_x", "--allow-missing", "out", "--tolerant"})
          .exit_code,
      0)
      << "it may have such stages";
}

TEST_F(FieldCases, ARecordingOfAnotherPromptHasNoNoise) {
  const Ended ended = tern({"noise", "--model", model_, "--tokenizer", tokenizer_, "--prompt", "the end",
                            "--max-tokens", "1", "--recording", recording_.string()});
  EXPECT_EQ(ended.exit_code, 2) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("is of another prompt: "));
}

}  // namespace
}  // namespace tern
