#include "tern/app/commit_step.h"

#include <gtest/gtest.h>

#include "support/paths.h"
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

}  // namespace
}  // namespace tern::app
