// `tern run` as other engines' stand-in and as arbiter/ runs it: with a teacher's tokens, unobserved, token by token,
// rounded, faulty.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <cmath>
#include <map>

#include "support/paths.h"
#include "support/run_program.h"
#include "tern/base/child_process.h"
#include "tern/base/file.h"
#include "tern/quant/format.h"
#include "tern/trace/run_folder.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

class RunCommand : public testing::TestWithParam<const char*> {
 protected:
  // Exit code; what was printed goes to output_.
  int run(std::vector<std::string> more) {
    ChildCommand command;
    command.argv = {test::tern_binary().string(), "run", "--model",
                    (test::golden_dir() / "models" / "tiny-i2_s.gguf").string()};
    command.argv.insert(command.argv.end(), more.begin(), more.end());
    command.environment = {{"BITNET_TRACE_DIR", ""}};
    command.timeout_s = 60;
    const test::Ended ended = test::run_program(command);
    output_ = ended.output;
    return ended.exit_code;
  }
  // Runs four tokens behind the ids 1, 5, 9.
  trace::EngineRun folder_of(const std::string& name, std::vector<std::string> more) {
    const fs::path out = folder_.path() / name;
    more.insert(more.end(), {"--max-tokens", "4", "--token-ids", "1,5,9", "--ignore-eos", "--out", out.string()});
    EXPECT_EQ(run(more), 0) << output_;
    auto folder = trace::read_run_folder(out);
    EXPECT_TRUE(folder) << folder.error().line();
    return std::move(*folder);
  }

  test::TemporaryFolder folder_;
  std::string output_;
};

TEST_P(RunCommand, GoesOnWithTheTeachersTokensButStatesItsOwn) {
  const auto free = folder_of("free", {"--engine", GetParam()});
  EXPECT_TRUE(free.result.teacher_tokens.empty());
  const auto taught = folder_of("taught", {"--engine", GetParam(), "--teacher-tokens", "3,4"});
  EXPECT_THAT(taught.result.teacher_tokens, ElementsAre(3, 4));
  EXPECT_EQ(taught.result.generated_tokens.size(), 4U);
  EXPECT_EQ(taught.result.generated_tokens[0], free.result.generated_tokens[0]);
  const trace::TensorId fed{1, 0, -1, trace::Stage::kEmbeddings};
  ASSERT_NE(taught.find(fed), nullptr);
  EXPECT_NE(taught.find(fed)->blake3, free.find(fed)->blake3);
}

TEST_P(RunCommand, AnEndOfTextChoiceDoesNotStopATaughtRun) {
  const fs::path out = folder_.path() / "run";
  ASSERT_EQ(run({"--engine", GetParam(), "--token-ids", "1,5,9", "--max-tokens", "6", "--teacher-tokens", "2,2,2,2,2",
                 "--out", out.string()}),
            0)
      << output_;
  EXPECT_EQ(trace::read_run_folder(out)->result.generated_tokens.size(), 6U);
}

TEST_P(RunCommand, UnwatchedAndTokenByToken) {
  const auto watched = folder_of("watched", {"--engine", GetParam(), "--token-by-token"});
  EXPECT_NE(watched.find({0, 2, -1, trace::Stage::kLogits}), nullptr);
  const auto unwatched = folder_of("unwatched", {"--engine", GetParam(), "--token-by-token", "--no-observe"});
  EXPECT_TRUE(unwatched.trace.empty());
  ASSERT_NE(unwatched.logits(), nullptr);
  EXPECT_TRUE(std::ranges::equal(unwatched.logits()->values, watched.logits()->values));
}

INSTANTIATE_TEST_SUITE_P(Engines, RunCommand, testing::Values("tern", "oracle"),
                         [](const auto& engine) { return std::string(engine.param); });

TEST_F(RunCommand, AFaultyOracleSaysSoAndIsFaulty) {
  const auto right = folder_of("right", {"--engine", "oracle"});
  const auto rounded = folder_of("rounded", {"--engine", "oracle", "--significant-bits", "11"});
  EXPECT_THAT(rounded.result.engine, HasSubstr("(11 significant bits)"));
  for (const std::string fault : {"activation_function", "nan", "thread_dependent"}) {
    const auto wrong = folder_of(fault, {"--engine", "oracle", "--fault", fault});
    EXPECT_THAT(wrong.result.engine, testing::EndsWith(" with the fault " + fault));
    EXPECT_EQ(wrong.trace.front().blake3, right.trace.front().blake3);
    EXPECT_NE(wrong.trace.back().blake3, right.trace.back().blake3);
  }
}

TEST_F(RunCommand, WhatCannotBeIsRefused) {
  struct Case {
    std::vector<std::string> arguments;
    int exit_code;
    std::string message;
  };
  const std::vector<Case> cases = {
      {{"--token-ids", ""}, 2, "--token-ids: '' is no token id"},
      {{"--token-ids", "1,,2"}, 2, "'' is no token id"},
      {{"--token-ids", "1,"}, 2, "'' is no token id"},
      {{"--token-ids", "1 2"}, 2, "'1 2' is no token id"},
      {{"--token-ids", "-1"}, 2, "'-1' is no token id"},
      {{"--token-ids", "4294967296"}, 2, "is no token id"},
      {{"--token-ids", "269"}, 3, "token 0 of the prompt has id 269"},
      {{"--prompt", "a", "--teacher-tokens", "1,269"}, 3, "token 1 of the teacher tokens has id 269"},
      {{"--prompt", "a", "--teacher-tokens", "1,x"}, 2, "--teacher-tokens: 'x' is no token id"},
      {{"--prompt", "a", "--max-tokens", "1", "--teacher-tokens", "1,2"}, 2, "has more ids than --max-tokens"},
      {{"--prompt", "a", "--fault", "nan"}, 2, "--fault: is an option of --engine oracle"},
      {{"--prompt", "a", "--engine", "oracle", "--fault", "none"}, 2, "--fault"},
      {{"--prompt", "a", "--significant-bits", "11"}, 2, "--significant-bits: is an option of --engine oracle"},
      {{"--prompt", "a", "--engine", "oracle", "--significant-bits", "7"}, 2, "must be 8 to 52"},
      {{"--prompt", "a", "--engine", "oracle", "--significant-bits", "53"}, 2, "must be 8 to 52"},
      {{"--prompt", "a", "--no-observe", "--dump-tensors", "--out", "x"}, 2, "needs the tensors"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(run(c.arguments), c.exit_code) << output_;
    EXPECT_THAT(output_, HasSubstr(c.message));
  }
}

// Both engines on a model in each format of the table; the oracle opens it by itself.
TEST(EveryFormat, IsWrittenBySynthAndComputedByBothEngines) {
  const test::TemporaryFolder folder;
  const auto tern = [](std::vector<std::string> arguments) {
    ChildCommand command;
    arguments.insert(arguments.begin(), test::tern_binary().string());
    command.argv = std::move(arguments);
    command.environment = {{"BITNET_TRACE_DIR", ""}};
    command.timeout_s = 60;
    return test::run_program(command);
  };
  for (const quant::Format* format : quant::formats()) {
    const std::string name = lower_case(format->name);
    SCOPED_TRACE(name + " " + std::string(format->layout));
    const std::string model = (folder.path() / "model.gguf").string();
    std::vector<std::string> synth = {"synth", "--arch", "bitnet", "--weights", name, model};
    if (!format->layout.empty()) {
      synth.insert(synth.end(), {"--layout", std::string(format->layout)});
    }
    const test::Ended written = tern(synth);
    ASSERT_EQ(written.exit_code, 0) << written.output;
    std::map<std::string, std::vector<float>> logits;
    for (const std::string engine : {"tern", "oracle"}) {
      const fs::path out = folder.path() / (name + std::string(format->layout) + engine);
      const test::Ended ran = tern({"run", "--engine", engine, "--model", model, "--token-ids", "1,5,9", "--max-tokens",
                                    "2", "--ignore-eos", "--teacher-tokens", "7", "--out", out.string()});
      ASSERT_EQ(ran.exit_code, 0) << ran.output;
      const auto run = trace::read_run_folder(out);
      ASSERT_TRUE(run) << run.error().line();
      logits[engine].assign(run->logits()->values.begin(), run->logits()->values.end());
    }
    double product = 0, ours = 0, oracles = 0;
    ASSERT_EQ(logits["tern"].size(), logits["oracle"].size());
    for (size_t i = 0; i < logits["tern"].size(); ++i) {
      const auto a = static_cast<double>(logits["tern"][i]), b = static_cast<double>(logits["oracle"][i]);
      product += a * b;
      ours += a * a;
      oracles += b * b;
    }
    EXPECT_GT(product / std::sqrt(ours * oracles), 0.998);
  }
  const test::Ended refused = tern({"synth", "--preset", "odd", "--weights", "tq2_0", (folder.path() / "m").string()});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.output, HasSubstr("rows of 384 weights, which TQ2_0 cannot hold"));
  EXPECT_FALSE(fs::exists(folder.path() / "m"));
}

}  // namespace
}  // namespace tern
