#include "tern/app/commit_step.h"

#include <gtest/gtest.h>

#include "support/paths.h"
#include "tern/app/run_model.h"
#include "tern/base/json.h"

namespace tern::app {
namespace {

CommitStepOptions answering_with(const std::string& recording) {
  const auto models = test::golden_dir() / "models";
  CommitStepOptions options;
  options.trial.model = (models / "tiny-i2_s.gguf").string();
  options.trial.tokenizer = (models / "tokenizer.json").string();
  options.trial.subject =
      "command:sh -c 'cp \"" + (test::golden_dir() / "tiny-i2_s" / recording).string() + "\"/* \"$0\"' {out}";
  const Json result = *read_json_file(test::golden_dir() / "tiny-i2_s" / recording / "result.json");
  options.trial.prompt = result["prompt"];
  options.trial.max_tokens = result["max_tokens"];
  return options;
}

TEST(CommitStep, ExactlyOneOfReferenceAndRecordIsGiven) {
  const Interrupt interrupt;
  CommitStepOptions options = answering_with("scenario1");
  for (const bool both : {false, true}) {
    options.trial.reference = options.record = both ? "x" : "";
    const auto step = test_commit(options, interrupt);
    ASSERT_FALSE(step);
    EXPECT_EQ(step.error().code, ErrorCode::kUsage);
  }
}

TEST(CommitStep, ABuildThatFailsMakesTheCommitUntestable) {
  const test::TemporaryFolder folder;
  const Interrupt interrupt;
  CommitStepOptions options = answering_with("scenario1");
  options.trial.reference = "pack:" + (folder.path() / "absent").string();
  options.build = "echo no compiler; exit 7";
  options.report = (folder.path() / "report.json").string();
  const auto step = test_commit(options, interrupt);
  ASSERT_TRUE(step) << step.error().line();
  EXPECT_EQ(step->result.outcome, bisect::Outcome::kUntestable);
  EXPECT_EQ(step->result.reason, "the build failed with exit code 7");
  EXPECT_EQ(step->build_output, "no compiler\n");
  EXPECT_EQ(step_exit_code(step->result.outcome), 125);
  const auto report = read_json_file(options.report);
  ASSERT_TRUE(report) << report.error().line();
  EXPECT_EQ((*report)["verdict"], "untestable");
  EXPECT_EQ((*report)["format"], 1);
}

TEST(CommitStep, WhatWasRecordedIsTheReferenceOfOtherCommits) {
  const test::TemporaryFolder folder;
  const Interrupt interrupt;
  CommitStepOptions options = answering_with("scenario1");
  options.record = (folder.path() / "pack").string();
  const auto recorded = test_commit(options, interrupt);
  ASSERT_TRUE(recorded) << recorded.error().line();
  EXPECT_EQ(step_exit_code(recorded->result.outcome), 0);
  options.trial.reference = "pack:" + options.record;
  options.record.clear();
  const auto same = test_commit(options, interrupt);
  ASSERT_TRUE(same) << same.error().line();
  EXPECT_EQ(step_exit_code(same->result.outcome), 0) << same->result.reason;
}

TEST(CommitStep, OnlyAVerdictBlamesACommit) {
  const auto for_git = [](std::vector<std::string> words, int code) {
    std::vector<char*> arguments;
    for (std::string& word : words) {
      arguments.push_back(word.data());
    }
    return exit_code_for_git(arguments, code);
  };
  for (const int code : {0, 1, kSkipCommit, 130}) {
    EXPECT_EQ(for_git({"tern", "bisect", "step", "--model", "m"}, code), code);
  }
  for (const int code : {2, 3, 4, 5, 70}) {
    EXPECT_EQ(for_git({"tern", "bisect", "step"}, code), kAbortSearch);
    EXPECT_EQ(for_git({"tern", "bisect", "commits"}, code), code);
    EXPECT_EQ(for_git({"tern", "bisect"}, code), code);
    EXPECT_EQ(for_git({"tern"}, code), code);
  }
}

TEST(RunModel, TokenIdsStandWithCommasBetweenThem) {
  EXPECT_EQ(parse_token_ids("--token-ids", "1,20,0").value(), (std::vector<int32_t>{1, 20, 0}));
  for (const char* bad : {"", "1,", ",1", "1,,2", "-1", "1, 2", "1x", "2147483648"}) {
    const auto ids = parse_token_ids("--token-ids", bad);
    ASSERT_FALSE(ids) << bad;
    EXPECT_EQ(ids.error().code, ErrorCode::kUsage);
    EXPECT_EQ(ids.error().where, "--token-ids");
  }
}

}  // namespace
}  // namespace tern::app
