// What the binary prints when the command line, the environment or stdin is wrong, whichever command is meant.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "support/paths.h"
#include "tern/base/child_process.h"

namespace tern {
namespace {

using testing::HasSubstr;

ChildResult run(std::vector<std::string> argv, std::map<std::string, std::string> environment = {}) {
  ChildCommand command;
  command.argv = std::move(argv);
  command.environment = std::move(environment);
  command.timeout_s = 60;
  const auto result = run_child(command);
  EXPECT_TRUE(result) << result.error().line();
  return result.value_or(ChildResult{});
}

ChildResult tern(std::vector<std::string> arguments, std::map<std::string, std::string> environment = {}) {
  arguments.insert(arguments.begin(), test::tern_binary().string());
  return run(std::move(arguments), std::move(environment));
}

TEST(CommandLine, UnknownCommandsAreNamed) {
  const std::vector<std::vector<std::string>> wrong = {{"bogus"}, {"bogus", "--help"}, {"pack", "bogus"}};
  for (const auto& arguments : wrong) {
    const ChildResult ended = tern(arguments);
    EXPECT_EQ(ended.exit_code, 2);
    EXPECT_THAT(ended.output_tail, HasSubstr("there is no command 'bogus' (there are: "));
  }
  EXPECT_THAT(tern({"pack", "bogus"}).output_tail, HasSubstr("tern pack: "));
  EXPECT_THAT(tern({"bogus"}).output_tail, HasSubstr("sweep, run, "));
  EXPECT_THAT(tern({""}).output_tail, HasSubstr("there is no command ''"));
  EXPECT_EQ(tern({}).exit_code, 2);
  EXPECT_EQ(tern({"--help"}).exit_code, 0);
  EXPECT_EQ(tern({"pack", "--help"}).exit_code, 0);
}

TEST(CommandLine, AnUnknownInstructionSetIsAUsageErrorOfEveryCommand) {
  const std::string model = test::bundled_model_dir() / "tern-tiny-i2_s.gguf";
  const std::string tokenizer = test::bundled_model_dir() / "tokenizer.json";
  const test::TemporaryFolder folder;
  const std::string out = folder.path() / "out";
  const std::vector<std::vector<std::string>> commands = {{"sweep", model, tokenizer, out, "--reference", "none"},
                                                          {"validate", model, tokenizer},
                                                          {"run", "--model", model, "--prompt", "x", "--out", out}};
  for (const auto& arguments : commands) {
    const ChildResult ended = tern(arguments, {{"TERN_ISA", "foo"}});
    EXPECT_EQ(ended.exit_code, 2) << arguments.front();
    EXPECT_THAT(ended.output_tail, HasSubstr("TERN_ISA=foo: no such instruction set"));
    EXPECT_THAT(ended.output_tail, HasSubstr("scalar"));
    EXPECT_FALSE(std::filesystem::exists(out));
  }
}

// The program through a shell, whose `redirection` names its streams.
ChildResult redirected(const std::string& arguments, const std::string& redirection) {
  return run({"sh", "-c", "'" + test::tern_binary().string() + "' " + arguments + " " + redirection});
}

TEST(CommandLine, AFullStandardOutputIsAnErrorOfTheMachine) {
  const std::string pack = (test::bundled_model_dir() / "reference").string();
  for (const std::string& arguments :
       std::vector<std::string>{"--version", "--help", "pack show --json '" + pack + "'"}) {
    const ChildResult ended = redirected(arguments, ">/dev/full");
    EXPECT_EQ(ended.exit_code, 3) << arguments;
    EXPECT_EQ(ended.output_tail, "tern: error: stdout: cannot be written\n") << arguments;
  }
}

TEST(CommandLine, AClosedStandardErrorChangesNothing) {
  const test::TemporaryFolder folder;
  const std::string model = test::bundled_model_dir() / "tern-tiny-i2_s.gguf";
  const std::string tokenizer = test::bundled_model_dir() / "tokenizer.json";
  const ChildResult ended =
      redirected("sweep '" + model + "' '" + tokenizer + "' '" + (folder.path() / "out").string() +
                     "' --reference none --oracle never --only scenario1",
                 "2>&-");
  EXPECT_EQ(ended.exit_code, 0) << ended.output_tail;
  EXPECT_THAT(ended.output_tail, HasSubstr("scenario1"));
}

TEST(CommandLine, TextThatIsNotUtf8IsNamedByItsSource) {
  const std::string tokenizer = test::bundled_model_dir() / "tokenizer.json";
  const ChildResult tokenized =
      run({"sh", "-c", "printf 'ab\\377' | \"$0\" tokenize --tokenizer \"$1\"", test::tern_binary(), tokenizer});
  EXPECT_EQ(tokenized.exit_code, 3);
  EXPECT_THAT(tokenized.output_tail, HasSubstr("stdin: text @ byte 2: is not valid UTF-8"));
  const ChildResult validated =
      tern({"validate", test::bundled_model_dir() / "tern-tiny-i2_s.gguf", tokenizer, "--prompt", "ab\xff"});
  EXPECT_EQ(validated.exit_code, 3);
  EXPECT_THAT(validated.output_tail, HasSubstr("--prompt: text @ byte 2: is not valid UTF-8"));
}

TEST(CommandLine, AnEndedSynthSaysWhichSignalAndLeavesNothing) {
  const test::TemporaryFolder folder;
  const ChildResult ended =
      run({"sh", "-c", "\"$0\" synth --preset 2b4t \"$1/model.gguf\" & sleep 0.5; kill -TERM $!; wait $!",
           test::tern_binary(), folder.path()});
  EXPECT_EQ(ended.exit_code, 128 + SIGTERM) << ended.output_tail;
  EXPECT_THAT(ended.output_tail, HasSubstr("interrupted; nothing was written"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace tern
