#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/paths.h"
#include "tern/app/checked_reference.h"
#include "tern/app/reference_build.h"

namespace tern::app {
namespace {

using testing::HasSubstr;

TEST(ReferenceBuild, AnEngineWithoutAnAdapterIsAUsageError) {
  const auto built = build_reference("pack:somewhere");
  ASSERT_FALSE(built);
  EXPECT_EQ(built.error().code, ErrorCode::kUsage);
  EXPECT_THAT(built.error().line(), HasSubstr("only these do: " + engines_with_adapter()));
  EXPECT_THAT(engines_with_adapter(), HasSubstr("llama.cpp:"));
}

TEST(ReferenceBuild, WhatAnAdapterDoesNotStateIsLeftOut) {
  peer::OpenedEngine opened;
  opened.spec = "llama.cpp:DIR";
  opened.engine = "llama.cpp";
  opened.details["engine"] = {{"libraries", {{{"path", "libllama.so"}, {"sha256", "00ff"}}}}, {"cpu", nullptr}};
  EXPECT_EQ(built_reference_text(opened),
            "Engine:   llama.cpp\nFound:    llama.cpp:DIR\nLibrary:  libllama.so\n  sha256: 00ff\n");
}

TEST(CheckedReference, NoReferenceIsNoVerdict) {
  CheckReferenceOptions options;
  options.reference = "none";
  options.model = (test::golden_dir() / "models" / "tiny-i2_s.gguf").string();
  const Interrupt interrupt;
  const auto checked = check_reference(options, {}, interrupt);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, ErrorCode::kNoVerdict);
}

TEST(CheckedReference, TheConclusionNamesTheFailedCheckAndTheCause) {
  outcome::ReferenceCheckResult result;
  result.checks.push_back({"repeatable", "Does it?", outcome::ReferenceCheck::Status::kPassed, "twice"});
  EXPECT_EQ(conclusion_text(result), "trusted on this model, by these checks\n");
  result.checks.push_back({"oracle", "Is it?", outcome::ReferenceCheck::Status::kFailed, "no"});
  result.cause.emplace();
  result.cause->id = "rope_base";
  result.cause->name = "blk0/q_rope";
  result.cause->confidence = 0.5;
  result.cause->evidence = "because";
  EXPECT_EQ(conclusion_text(result),
            "cause: rope_base at blk0/q_rope (confidence 0.50): because\n\nmistrusted: it fails the check 'oracle'\n");
  EXPECT_EQ(reference_check_text(result.checks[1]), "FAILED   Is it?\n         no\n");
}

}  // namespace
}  // namespace tern::app
