#include "tern/app/sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/paths.h"
#include "tern/base/json.h"

namespace tern::app {
namespace {

namespace fs = std::filesystem;

class SilentProgress final : public sweep::Progress {
 public:
  void started(size_t, const outcome::Scenario&, std::string_view) override {}
  void differs(const trace::TensorId&, double) override {}
  void running(double, const fs::path&) override {}
  void finished(size_t, const outcome::ScenarioOutcome&) override {}
};

class Sweep : public testing::Test {
 protected:
  Sweep() {
    const fs::path models = test::golden_dir() / "models";
    options_.model = models / "tiny-i2_s.gguf";
    options_.tokenizer = models / "tokenizer.json";
    options_.output_dir = folder_.path() / "out";
    options_.subject = engine("scenario1");
    options_.reference = "none";
    options_.only = {"scenario1"};
    options_.ask = AskOracle::kNever;
    options_.check_reference = "never";
  }
  // Answers with a recording.
  static std::string engine(const std::string& recording) {
    return "command:sh -c 'cp \"" + (test::golden_dir() / "tiny-i2_s" / recording).string() + "\"/* \"$0\"' {out}";
  }
  Result<SweepEnd> sweep() {
    return sweep_and_report(options_, [](size_t) { return std::make_unique<SilentProgress>(); });
  }

  test::TemporaryFolder folder_;
  SweepOptions options_;
};

TEST_F(Sweep, WithoutAReferenceEverythingIsWritten) {
  const auto end = sweep();
  ASSERT_TRUE(end) << end.error().line();
  EXPECT_EQ(end->signal, 0);
  ASSERT_EQ(end->outcome.scenarios.size(), 1U);
  EXPECT_EQ(end->outcome.scenarios[0].status, outcome::ParityStatus::kRustOnly) << end->outcome.scenarios[0].reason;
  EXPECT_EQ(outcome::exit_code(end->outcome), 0);
  const fs::path out = options_.output_dir;
  for (const char* file : {"summary.md", "sweep.json", "junit.xml", "scenario1/report.txt",
                           "scenario1/logits-comparison.json", "scenario1/rs-run/result.json"}) {
    EXPECT_TRUE(fs::exists(out / file)) << file;
  }
  EXPECT_FALSE(fs::exists(out / ".tern-journal")) << "a sweep that is whole leaves nothing to resume";
}

TEST_F(Sweep, EqualEnginesAreInParity) {
  options_.reference = engine("scenario1");
  const auto end = sweep();
  ASSERT_TRUE(end) << end.error().line();
  EXPECT_EQ(end->outcome.scenarios[0].status, outcome::ParityStatus::kOk) << end->outcome.scenarios[0].reason;
}

TEST_F(Sweep, WhatCannotBeReadIsAnErrorBeforeAnythingRuns) {
  options_.model = "/nonexistent.gguf";
  const auto end = sweep();
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, ErrorCode::kIo);
  EXPECT_FALSE(fs::exists(options_.output_dir));
}

}  // namespace
}  // namespace tern::app
