// The engines as child processes: shell scripts stand in for the programs, and print what those really printed.
#include "benched_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "captured_outputs.h"
#include "support/paths.h"
#include "tern/base/file.h"

namespace tern::bench {
namespace {
namespace fs = std::filesystem;
using testing::HasSubstr;

class BenchedEngineTest : public testing::Test {
 protected:
  // Writes an executable script. It appends its arguments to `arguments` first.
  std::string program(const std::string& name, const std::string& body) {
    const fs::path path = folder_.path() / name;
    const std::string log = "echo \"$*\" >> " + arguments_path().string() + "\n";
    EXPECT_TRUE(write_file(path, "#!/bin/sh\n" + log + body));
    fs::permissions(path, fs::perms::owner_all);
    return path;
  }

  std::string prints(const std::string& name, const std::string& text) {
    EXPECT_TRUE(write_file(folder_.path() / (name + ".txt"), text));
    return "cat " + (folder_.path() / (name + ".txt")).string() + "\n";
  }

  EngineSetting setting(const std::string& path) const {
    return {.name = "peer", .command = {path}, .model = "m.gguf", .timeout_s = 20};
  }

  fs::path arguments_path() const { return folder_.path() / "arguments"; }
  std::string arguments() const { return read_file(arguments_path(), 1 << 20).value_or(""); }

  test::TemporaryFolder folder_;
};

TEST_F(BenchedEngineTest, LlamaBenchGetsItsOptionsAndIsRead) {
  const auto engine = llama_bench_engine(setting(program("llama-bench", prints("out", captured::kBitnetCpp))));
  ASSERT_TRUE(engine->prepare());
  const auto speed = engine->speed({}, 2);
  ASSERT_TRUE(speed) << speed.error().line();
  EXPECT_NEAR(speed->prefill_tokens_per_s, 117.84, 0.01);
  EXPECT_NEAR(speed->decode_tokens_per_s, 28.77, 0.01);
  EXPECT_GT(speed->peak_rss_bytes, 0);
  EXPECT_THAT(arguments(), HasSubstr("-m m.gguf -p 128 -n 32 -t 2 -o json -r 3\n"));
}

TEST_F(BenchedEngineTest, ContextIsFilledByTheOptionThatThereIs) {
  const std::string body = "case \"$*\" in *help*) echo '  -gp <pp,tg>  (default: )';; *) " +
                           prints("out", captured::kIkLlamaCpp) + ";; esac\n";
  const auto engine = llama_bench_engine(setting(program("llama-bench", body)));
  ASSERT_TRUE(engine->prepare());
  const auto speed = engine->deep_decode({.n_decode = 8, .depth = 64}, 2);
  ASSERT_TRUE(speed) << speed.error().line();
  EXPECT_NEAR(speed->value(), 22.63, 0.01);
  EXPECT_THAT(arguments(), HasSubstr("-gp 64,8"));
}

TEST_F(BenchedEngineTest, BatchedBenchBesideItFillsIn) {
  program("llama-batched-bench", prints("batched", captured::kBatchedBench));
  const auto engine = llama_bench_engine(setting(program("llama-bench", "echo help\n")));
  ASSERT_TRUE(engine->prepare());
  const auto speed = engine->deep_decode({.n_decode = 8, .depth = 64}, 2);
  ASSERT_TRUE(speed) << speed.error().line();
  EXPECT_NEAR(speed->value(), 27.34, 0.01);
  EXPECT_THAT(arguments(), HasSubstr("-npp 64 -ntg 8 -npl 1"));
}

TEST_F(BenchedEngineTest, WithNeitherTheLongContextIsNotMeasured) {
  const auto engine = llama_bench_engine(setting(program("llama-bench", "echo help\n")));
  ASSERT_TRUE(engine->prepare());
  const auto speed = engine->deep_decode({}, 2);
  ASSERT_TRUE(speed);
  EXPECT_EQ(*speed, std::nullopt);
}

TEST_F(BenchedEngineTest, FirstTokenIsWithoutTheSecond) {
  const auto engine = llama_bench_engine(setting(
      program("llama-bench", "sleep 0.5; echo '{\"n_prompt\": 0, \"n_gen\": 1, \"samples_ns\": [ 200000000 ]}'\n")));
  const auto seconds = engine->first_token_s(2);
  ASSERT_TRUE(seconds) << seconds.error().line();
  EXPECT_GE(*seconds, 0.3);
  EXPECT_LT(*seconds, 10);
}

TEST_F(BenchedEngineTest, FailuresNameThePeerAndTheCause) {
  const auto failing = llama_bench_engine(setting(program("fails", "echo 'no such model' >&2; exit 1\n")))->prepare();
  ASSERT_FALSE(failing);
  EXPECT_THAT(failing.error().line(), HasSubstr("peer: ended with exit code 1: no such model"));
  const auto crashing = llama_bench_engine(setting(program("crashes", "kill -SEGV $$\n")))->speed({}, 1);
  ASSERT_FALSE(crashing);
  EXPECT_THAT(crashing.error().line(), HasSubstr("SIGSEGV"));
  const auto missing = llama_bench_engine(setting("/nowhere/llama-bench"))->prepare();
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().line(), HasSubstr("/nowhere/llama-bench"));
  const auto talking = llama_bench_engine(setting(program("talks", "echo hello\n")))->speed({}, 1);
  ASSERT_FALSE(talking);
  EXPECT_EQ(talking.error().code, ErrorCode::kInvalidInput);
  EngineSetting slow = setting(program("hangs", "sleep 30\n"));
  slow.timeout_s = 0.3;
  const auto hanging = llama_bench_engine(slow)->speed({}, 1);
  ASSERT_FALSE(hanging);
  EXPECT_THAT(hanging.error().line(), HasSubstr("not done after"));
}

TEST_F(BenchedEngineTest, AContractEngineTellsItsTiming) {
  const std::string body = R"(
while [ $# -gt 0 ]; do case "$1" in --out) out=$2;; --token-ids) ids=$2;; esac; shift; done
mkdir -p "$out"
printf '{"prompt_tokens":[%s],"generated_tokens":[1,2,3],"timing":{"prefill_s":0.5,"decode_s":0.1}}' "$ids" > "$out/result.json"
)";
  const auto engine = contract_engine(setting(program("engine", body)));
  ASSERT_TRUE(engine->prepare());
  const auto speed = engine->speed({.n_prompt = 4, .n_decode = 2}, 2);
  ASSERT_TRUE(speed) << speed.error().line();
  EXPECT_DOUBLE_EQ(speed->prefill_tokens_per_s, 8);
  EXPECT_DOUBLE_EQ(speed->decode_tokens_per_s, 20);
  EXPECT_THAT(arguments(), HasSubstr("--token-ids 0,1,2,3 --max-tokens 3 --threads 2"));
  // It stopped early, so its seconds are of something else.
  EXPECT_FALSE(engine->speed({.n_prompt = 4, .n_decode = 5}, 2));
}

TEST(SplitAssignment, NameAndValue) {
  EXPECT_EQ(split_assignment("a=b=c", "--peer").value(), std::pair(std::string("a"), std::string("b=c")));
  for (const char* text : {"", "a", "a=", "=b"}) {
    const auto split = split_assignment(text, "--peer");
    ASSERT_FALSE(split) << text;
    EXPECT_EQ(split.error().code, ErrorCode::kUsage);
  }
}

}  // namespace
}  // namespace tern::bench
