#include "tern/app/validate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tern::app {
namespace {

using testing::HasSubstr;

Validation with(const std::vector<ModelCheck>& checks) { return {"m.gguf", "tokenizer.json", checks, {}}; }

ModelCheck passed_check() {
  ModelCheck check;
  check.name = "norms";
  check.title = "Norm weights";
  check.passed = true;
  check.summary = "all fine";
  return check;
}

TEST(Validation, PassesWhereAllChecksDo) {
  const Validation validation = with({passed_check(), passed_check()});
  EXPECT_TRUE(validation.passed());
  EXPECT_EQ(validation_text(validation),
            "1/2 Norm weights        ok    all fine\n"
            "2/2 Norm weights        ok    all fine\n"
            "ALL VALIDATION CHECKS PASSED\n");
}

TEST(Validation, ShowsTheFirstProblemsAndCountsTheRest) {
  ModelCheck failed = passed_check();
  failed.passed = false;
  for (int i = 0; i < 23; ++i) {
    failed.problems.push_back("problem " + std::to_string(i));
  }
  const Validation validation = with({passed_check(), failed});
  EXPECT_FALSE(validation.passed());
  const std::string text = validation_text(validation);
  EXPECT_THAT(text, HasSubstr("      problem 19\n      ... and 3 more\nVALIDATION FAILED\n"));
  EXPECT_THAT(text, testing::Not(HasSubstr("problem 20")));
  EXPECT_EQ(to_json(validation)["checks"][1]["problems"].size(), 23U);
}

TEST(Validation, FailsWithoutTheProbe) {
  Validation validation = with({passed_check()});
  validation.probe_error = Error{ErrorCode::kEngine, "the greedy probe", "timed out", ""};
  EXPECT_FALSE(validation.passed());
  EXPECT_EQ(to_json(validation)["passed"], false);
}

TEST(Validation, AFileThatCannotBeReadIsAnError) {
  const Interrupt interrupt;
  ValidateOptions options;
  options.model = options.tokenizer = "/nonexistent";
  const auto validation = validate(options, interrupt);
  ASSERT_FALSE(validation);
  EXPECT_EQ(validation.error().code, ErrorCode::kIo);
}

}  // namespace
}  // namespace tern::app
