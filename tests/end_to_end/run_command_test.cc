// `tern run` as other engines' stand-in and as the arbiter sees it: told what to go on with, unwatched, token by token,
// rounded, faulty.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/paths.h"
#include "support/run_program.h"
#include "tern/base/child_process.h"
#include "tern/base/file.h"
#include "tern/trace/run_folder.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

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

}  // namespace
}  // namespace tern
