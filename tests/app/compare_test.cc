#include "tern/app/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/paths.h"
#include "tern/gguf/writer.h"

namespace tern::app {
namespace {

using testing::HasSubstr;

std::string recording(const std::string& name) { return (test::golden_dir() / "tiny-i2_s" / name).string(); }

Comparison compared(const CompareOptions& options) {
  const Interrupt interrupt;
  auto comparison = compare_recordings(options, interrupt);
  EXPECT_TRUE(comparison && *comparison);
  return comparison && *comparison ? std::move(**comparison) : Comparison();
}

TEST(Compare, TwoEqualRecordingsMatch) {
  CompareOptions options;
  options.subject = options.reference = recording("scenario1");
  const Comparison comparison = compared(options);
  EXPECT_EQ(comparison.exit_code, 0);
  EXPECT_EQ(comparison.repro, "");
  const Json json = to_json(comparison);
  EXPECT_EQ(json["format"], 1);
  EXPECT_EQ(json["verdict"], "match");
  EXPECT_TRUE(json["arbitration"].is_null() && json["no_arbitration_because"].is_null());
  EXPECT_EQ(json["subject"]["path"], options.subject);
  EXPECT_THAT(to_text(comparison), HasSubstr("verdict: match\n"));
}

TEST(Compare, OtherPromptsDivergeAndHowToReproduceItIsTold) {
  CompareOptions options;
  options.subject = recording("scenario1");
  options.reference = recording("scenario2");
  const Comparison comparison = compared(options);
  EXPECT_EQ(comparison.exit_code, 1);
  EXPECT_EQ(to_json(comparison)["first_divergence"], "tokens");
  EXPECT_THAT(comparison.repro, HasSubstr("compare " + options.subject + " " + options.reference));
  EXPECT_THAT(to_text(comparison), HasSubstr("\nto reproduce: "));
}

TEST(Compare, AdviceIsGeneralWhereTheModelsGraphIsNotKnown) {
  CompareOptions options;
  options.subject = recording("scenario1");
  options.reference = (test::golden_dir() / "tiny-silu-i2_s" / "scenario1").string();
  options.ask = AskOracle::kNever;
  EXPECT_THAT(to_text(compared(options)), testing::Not(HasSubstr("how this node is computed")));

  const test::TemporaryFolder folder;
  options.model = (folder.path() / "qwen3.gguf").string();
  gguf::Header header;
  header.add("general.architecture", std::string("qwen3"));
  auto writer = gguf::Writer::create(options.model, std::move(header));
  ASSERT_TRUE(writer) << writer.error().line();
  ASSERT_TRUE(writer->commit());
  EXPECT_THAT(to_text(compared(options)), HasSubstr("how this node is computed"));
}

TEST(Compare, WhatIsNoRecordingIsNamed) {
  CompareOptions options;
  options.subject = recording("scenario1");
  options.reference = "/nonexistent";
  const Interrupt interrupt;
  const auto comparison = compare_recordings(options, interrupt);
  ASSERT_FALSE(comparison);
  EXPECT_EQ(comparison.error().code, ErrorCode::kIo);
  EXPECT_THAT(comparison.error().line(), HasSubstr("/nonexistent: holds neither result.json (a run) nor pack.json"));
}

}  // namespace
}  // namespace tern::app
