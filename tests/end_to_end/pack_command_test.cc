// Recordings made with the real binary, of our own engine and of stand-ins that do not do what they are asked for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "support/paths.h"
#include "support/run_program.h"
#include "tern/base/child_process.h"
#include "tern/base/file.h"
#include "tern/base/json.h"

extern char** environ;

namespace tern {
namespace {

namespace fs = std::filesystem;
using test::Ended;
using test::json_in;
using testing::HasSubstr;

class PackCommand : public testing::Test {
 protected:
  PackCommand() {
    fs::create_directories(place_);
    // A command line splits at blanks; the model's path must not hold any.
    fs::copy_file(test::golden_dir() / "models" / "tiny-i2_s.gguf", model_);
    fs::copy_file(test::golden_dir() / "models" / "tokenizer.json", tokenizer_);
  }

  Ended tern(std::vector<std::string> arguments) const {
    return test::run_program(test::tern_command(std::move(arguments)));
  }

  std::vector<std::string> record_words(const std::string& reference, std::vector<std::string> more = {}) const {
    std::vector<std::string> words = {"pack",        "record",   "--reference", reference, "--model",     model_,
                                      "--tokenizer", tokenizer_, "--out",       pack_,     "--scenarios", scenarios_};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  Ended record(const std::string& reference, std::vector<std::string> more = {}) const {
    return tern(record_words(reference, std::move(more)));
  }
  Ended sweep(const std::string& model, std::vector<std::string> more = {}) const {
    std::vector<std::string> words = {"sweep",
                                      model,
                                      tokenizer_,
                                      (folder_.path() / "results").string(),
                                      "--scenarios",
                                      scenarios_,
                                      "--reference",
                                      "pack:" + pack_,
                                      "--require-reference"};
    words.insert(words.end(), more.begin(), more.end());
    return tern(words);
  }
  // Our own engine through its command line, as any outsider's.
  std::string own_engine(const std::string& more = {}) const {
    return "command:'" + test::tern_binary().string() +
           "' run --model {model} --tokenizer {tokenizer} --prompt {prompt} --max-tokens {max_tokens} --threads "
           "{threads} --ignore-eos --out {out} " +
           more;
  }
  std::vector<std::string> left_in_place() const { return test::names_in(place_); }
  void write_scenarios(const std::string& toml) { ASSERT_TRUE(write_file(scenarios_, toml)); }
  void SetUp() override {
    write_scenarios(
        "[[scenario]]\nname = \"one\"\nprompt = \"2+2=\"\nmax_tokens = 1\n"
        "[[scenario]]\nname = \"three\"\nprompt = \"Count: 1,2,3,\"\nmax_tokens = 3\n");
  }

  test::TemporaryFolder folder_;
  fs::path place_ = folder_.path() / "packs";
  std::string pack_ = (place_ / "pack").string();
  std::string model_ = (folder_.path() / "model.gguf").string();
  std::string tokenizer_ = (folder_.path() / "tokenizer.json").string();
  std::string scenarios_ = (folder_.path() / "scenarios.toml").string();
};

TEST_F(PackCommand, RecordsALiveEngineAndSweepsAgainstIt) {
  const Ended recorded = record(own_engine(), {"--top-logits", "16"});
  ASSERT_EQ(recorded.exit_code, 0) << recorded.output;
  EXPECT_THAT(recorded.output, HasSubstr("[2/2] three: 3 tokens"));
  EXPECT_THAT(recorded.output, HasSubstr("logits      top-16"));
  EXPECT_EQ(left_in_place(), std::vector<std::string>{"pack"});
  const Json manifest = json_in(fs::path(pack_) / "pack.json");
  EXPECT_EQ(manifest["logits"], "top-16");
  EXPECT_EQ(manifest["values"], false);
  EXPECT_EQ(manifest["arithmetic"], "bitnet.cpp-x86-64");
  EXPECT_THAT(manifest["engine"]["name"].get<std::string>(), HasSubstr("tern"));
  EXPECT_THAT(manifest["engine"]["command"].get<std::string>(), HasSubstr("run --model {model}"));
  EXPECT_FALSE(manifest["engine"]["cpu"].get<std::string>().empty());
  EXPECT_FALSE(fs::exists(fs::path(pack_) / "one" / "tensors.safetensors"));

  const Ended swept = sweep(model_);
  EXPECT_EQ(swept.exit_code, 0) << swept.output;
  const Json comparison = json_in(folder_.path() / "results" / "sweep.json")["scenarios"][1]["comparison"];
  EXPECT_EQ(comparison["verdict"], "match") << comparison["reason"];
  EXPECT_EQ(comparison["logits"]["entries_compared"], 16);
  EXPECT_EQ(comparison["logits"]["subject_vocab"], 269);
  EXPECT_EQ(comparison["logits"]["max_log_sum_exp_difference"], 0.0);
  EXPECT_EQ(comparison["coverage"]["positions_compared"], comparison["coverage"]["positions_expected"]);

  const Ended compared =
      tern({"compare", (folder_.path() / "results" / "three" / "rs-run").string(), pack_ + "/three"});
  EXPECT_EQ(compared.exit_code, 0) << compared.output;
  EXPECT_THAT(compared.output,
              HasSubstr("of 16 of 269 logits a row and their log-sum-exp, which differs by at most 0"));
}

// In tolerant mode a small difference is measured on the recorded logits, not passed over.
TEST_F(PackCommand, TheOracleAgainstARecordingIsWithinTolerance) {
  ASSERT_EQ(record(own_engine("--engine oracle"), {"--top-logits", "16"}).exit_code, 0);
  const Ended swept = sweep(model_);
  EXPECT_EQ(swept.exit_code, 0) << swept.output;
  const Json logits = json_in(folder_.path() / "results" / "sweep.json")["scenarios"][0]["comparison"]["logits"];
  EXPECT_GT(logits["max_log_sum_exp_difference"], 0.0);
  EXPECT_LT(logits["max_log_sum_exp_difference"], 0.5);
  EXPECT_GT(logits["min_cosine"], 0.99);
  EXPECT_LT(logits["min_cosine"], 1.0);
}

TEST_F(PackCommand, PromptsByTokenIds) {
  write_scenarios("[[scenario]]\nname = \"ids\"\ntoken_ids = [5, 17, 33, 8]\nmax_tokens = 2\n");
  // Without any placeholder, an engine gets what the engine contract says.
  const Ended recorded = record("command:'" + test::tern_binary().string() + "' run --ignore-eos");
  ASSERT_EQ(recorded.exit_code, 0) << recorded.output;
  EXPECT_EQ(json_in(fs::path(pack_) / "pack.json")["scenarios"][0]["prompt_tokens"], Json({5, 17, 33, 8}));
  EXPECT_EQ(tern({"pack", "check", pack_, "--model", model_, "--tokenizer", tokenizer_}).exit_code, 0);
  const Ended swept = sweep(model_);
  EXPECT_EQ(swept.exit_code, 0) << swept.output;
  const Json scenario = json_in(folder_.path() / "results" / "sweep.json")["scenarios"][0];
  EXPECT_EQ(scenario["comparison"]["verdict"], "match") << scenario;
  // A command that takes only text is refused before anything runs.
  pack_ += "2";
  const Ended text_only = record("command:sh -c true {prompt} {out}");
  EXPECT_EQ(text_only.exit_code, 2) << text_only.output;
  EXPECT_THAT(text_only.output, HasSubstr("given by token ids, which this engine does not take"));
}

TEST_F(PackCommand, ValuesOnRequest) {
  const Ended recorded = record(own_engine("--dump-tensors"), {"--values"});
  ASSERT_EQ(recorded.exit_code, 0) << recorded.output;
  EXPECT_EQ(json_in(fs::path(pack_) / "pack.json")["values"], true);
  EXPECT_TRUE(fs::exists(fs::path(pack_) / "one" / "tensors.safetensors"));

  // And left out again, with the logits reduced, by create; what was there before stays.
  const std::string facts = (folder_.path() / "facts.json").string();
  ASSERT_TRUE(write_file(facts, R"({"name": "tern"})"));
  const std::string small = (place_ / "small").string();
  const Ended created = tern({"pack", "create", "--model", model_, "--tokenizer", tokenizer_, "--engine-facts", facts,
                              "--out", small, "--top-logits", "8", "--no-values", pack_ + "/one", pack_ + "/three"});
  ASSERT_EQ(created.exit_code, 0) << created.output;
  EXPECT_EQ(json_in(fs::path(small) / "pack.json")["logits"], "top-8");
  const auto bytes = [](const fs::path& folder) {
    uintmax_t sum = 0;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      sum += entry.is_regular_file() ? entry.file_size() : 0;
    }
    return sum;
  };
  EXPECT_LT(3 * bytes(small), bytes(pack_));
}

TEST_F(PackCommand, ValuesThatTheEngineDoesNotWriteAreMissed) {
  const Ended ended = record(own_engine(), {"--values"});
  EXPECT_EQ(ended.exit_code, 4) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("wrote no tensors.safetensors"));
  EXPECT_TRUE(left_in_place().empty());
}

TEST_F(PackCommand, DamageIsRefused) {
  ASSERT_EQ(record(own_engine(), {"--top-logits", "4"}).exit_code, 0);
  const fs::path logits = fs::path(pack_) / "three" / "top-logits.safetensors";
  const auto original = read_file(logits, 1 << 20);
  ASSERT_TRUE(original);
  std::string changed = *original;
  changed.back() = static_cast<char>(changed.back() ^ 1);
  ASSERT_TRUE(write_file(logits, changed));
  const Ended byte = sweep(model_);
  EXPECT_EQ(byte.exit_code, 3) << byte.output;
  EXPECT_THAT(byte.output, HasSubstr("top-logits.safetensors"));
  EXPECT_THAT(byte.output, HasSubstr("another BLAKE3"));
  fs::remove(logits);
  EXPECT_EQ(sweep(model_).exit_code, 3);
  ASSERT_TRUE(write_file(logits, *original));
  EXPECT_EQ(sweep(model_).exit_code, 0);
}

TEST_F(PackCommand, OfAnotherModelPromptOrTokenizerIsRefused) {
  ASSERT_EQ(record(own_engine(), {"--top-logits", "4"}).exit_code, 0);
  const std::string other = (test::golden_dir() / "models" / "tiny-silu-i2_s.gguf").string();
  const Ended model = sweep(other);
  EXPECT_EQ(model.exit_code, 3) << model.output;
  EXPECT_THAT(model.output, HasSubstr("belongs to another model"));

  EXPECT_EQ(tern({"pack", "check", pack_, "--model", model_, "--tokenizer", tokenizer_}).exit_code, 0);
  const std::string bundled = (test::bundled_model_dir() / "tokenizer.json").string();
  const Ended tokens = tern({"pack", "check", pack_, "--tokenizer", bundled});
  EXPECT_EQ(tokens.exit_code, 3) << tokens.output;
  EXPECT_THAT(tokens.output, HasSubstr("one: the prompt was recorded as other token ids than the tokenizer gives"));

  write_scenarios("[[scenario]]\nname = \"two\"\nprompt = \"never recorded\"\nmax_tokens = 1\n");
  const Ended prompt = sweep(model_);
  EXPECT_EQ(prompt.exit_code, 5) << prompt.output;
  EXPECT_THAT(prompt.output, HasSubstr("has no recording of \"never recorded\""));
}

TEST_F(PackCommand, WhatCannotBeRecordedIsAUsageError) {
  for (const char* reference : {"none", "auto", "pack:/somewhere"}) {
    const Ended ended = record(reference);
    EXPECT_EQ(ended.exit_code, 2) << ended.output;
    EXPECT_THAT(ended.output, HasSubstr("is no engine that could be recorded"));
  }
  EXPECT_EQ(record(own_engine(), {"--top-logits", "0"}).exit_code, 2);
  EXPECT_EQ(record(own_engine(), {"--reference-arithmetic", "x"}).exit_code, 2);
  EXPECT_EQ(record("command:'open quote").exit_code, 2);
  EXPECT_EQ(record(own_engine(), {"--threads", "0"}).exit_code, 2);
  EXPECT_TRUE(left_in_place().empty());
  fs::create_directory(pack_);
  EXPECT_EQ(record(own_engine()).exit_code, 3) << "a folder is never written over";
}

TEST_F(PackCommand, MoreLogitsThanARowHasCannotBeKept) {
  const Ended ended = record(own_engine(), {"--top-logits", "270"});
  EXPECT_EQ(ended.exit_code, 3) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("has 269 logits in a row"));
  EXPECT_TRUE(left_in_place().empty());
}

TEST_F(PackCommand, AFailingEngineLeavesNothing) {
  const Ended crashed = record("command:sh -c 'echo out of cheese >&2; exit 7' {out}");
  EXPECT_EQ(crashed.exit_code, 4) << crashed.output;
  EXPECT_THAT(crashed.output, HasSubstr("one: ended with exit code 7: out of cheese"));
  const Ended slow = record("command:sh -c 'sleep 30' {out}", {"--timeout", "0.3"});
  EXPECT_EQ(slow.exit_code, 4) << slow.output;
  EXPECT_THAT(slow.output, HasSubstr("timed out after 0.3 s"));
  const Ended missing = record("command:/no/such/engine {out}");
  EXPECT_EQ(missing.exit_code, 4) << missing.output;
  EXPECT_TRUE(left_in_place().empty());
  // Parents that were made for it go, too.
  pack_ = (place_ / "new" / "deep" / "pack").string();
  EXPECT_EQ(record("command:/no/such/engine {out}").exit_code, 4);
  EXPECT_TRUE(left_in_place().empty());
}

// An engine that reads the prompt as other tokens: a pack of it could not be compared with anything.
TEST_F(PackCommand, AnEngineOfAnotherTokenizerIsRefused) {
  const std::string engine = (folder_.path() / "engine.sh").string();
  ASSERT_TRUE(write_file(engine, "'" + test::tern_binary().string() +
                                     "' run --model \"$1\" --tokenizer \"$2\" --prompt \"$3\" --max-tokens \"$4\" "
                                     "--ignore-eos --out \"$5\"\nsed -i '/\"prompt_tokens\": \\[/{n;s/[0-9][0-9]*/1/}' "
                                     "\"$5/result.json\"\n"));
  const Ended ended = record("command:sh " + engine + " {model} {tokenizer} {prompt} {max_tokens} {out}");
  EXPECT_EQ(ended.exit_code, 3) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("the prompt was recorded as other token ids"));
  EXPECT_THAT(ended.output, HasSubstr("position 0 is 1"));
  EXPECT_TRUE(left_in_place().empty());
}

TEST_F(PackCommand, CtrlCLeavesNothing) {
  std::vector<std::string> words = record_words("command:sh -c 'sleep 30' {out}");
  words.insert(words.begin(), test::tern_binary().string());
  std::vector<char*> argv;
  for (std::string& word : words) {
    argv.push_back(word.data());
  }
  argv.push_back(nullptr);
  pid_t pid = 0;
  ASSERT_EQ(::posix_spawn(&pid, argv[0], nullptr, nullptr, argv.data(), environ), 0);
  for (int i = 0; i < 200 && left_in_place().empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_FALSE(left_in_place().empty()) << "it never began";
  ::kill(pid, SIGINT);
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 128 + SIGINT);
  EXPECT_TRUE(left_in_place().empty());
}

}  // namespace
}  // namespace tern
