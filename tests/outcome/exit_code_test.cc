#include <gtest/gtest.h>

#include <array>

#include "tern/outcome/sweep_outcome.h"

namespace tern::outcome {
namespace {

int code_of(std::initializer_list<ParityStatus> statuses, bool reference_required = false) {
  SweepOutcome outcome;
  outcome.reference_required = reference_required;
  for (const ParityStatus status : statuses) {
    outcome.scenarios.emplace_back().status = status;
  }
  return exit_code(outcome);
}

TEST(SweepExitCode, EngineFailureOutranksDivergenceOutranksMistrust) {
  using enum ParityStatus;
  EXPECT_EQ(code_of({kOk, kOk}), 0);
  EXPECT_EQ(code_of({kOk, kRustOnly}), 0);
  EXPECT_EQ(code_of({kOk, kRustOnly}, true), 5);
  EXPECT_EQ(code_of({kOk, kDiverged, kOk}), 1);
  EXPECT_EQ(code_of({kMistrusted, kOk}), 5);
  EXPECT_EQ(code_of({kDiverged, kMistrusted}), 1);
  EXPECT_EQ(code_of({kDiverged, kRustOnly}, true), 1);
  EXPECT_EQ(code_of({kMistrusted, kReferenceFailed}), 4);
  EXPECT_EQ(code_of({kDiverged, kSubjectFailed}), 4);
  EXPECT_EQ(code_of({kSubjectFailed, kMachineFailed, kDiverged}), 3);
  EXPECT_EQ(code_of({}), 5) << "a sweep of nothing is no parity";
}

TEST(SweepExitCode, HasTheContractsOrder) {
  EXPECT_EQ(highest_ranking(std::array{0, 5, 1, 4, 3}), 3);
  EXPECT_EQ(highest_ranking(std::array{0, 5, 1, 4}), 4);
  EXPECT_EQ(highest_ranking(std::array{0, 5, 1}), 1);
  EXPECT_EQ(highest_ranking(std::array{0, 5}), 5);
  EXPECT_EQ(highest_ranking(std::array{0}), 0);
}

TEST(SweepExitCode, EveryStatusOfTheContractHasANameAndATitle) {
  using enum ParityStatus;
  const std::pair<ParityStatus, std::string_view> names[] = {
      {kOk, "ok"},
      {kRustOnly, "rust_only"},
      {kDiverged, "diverged"},
      {kSubjectFailed, "subject_failed"},
      {kReferenceFailed, "reference_failed"},
      {kMistrusted, "mistrusted"},
      {kMachineFailed, "machine_failed"},
  };
  for (const auto& [status, name] : names) {
    EXPECT_EQ(parity_status_name(status), name);
    EXPECT_FALSE(exit_code_title(exit_code(status)).empty());
  }
  EXPECT_EQ(exit_code_title(1), "Divergence");
}

TEST(SweepExitCode, EachVerdictHasAStatus) {
  using enum compare::VerdictKind;
  EXPECT_EQ(status_of(kMatch), ParityStatus::kOk);
  EXPECT_EQ(status_of(kWithinTolerance), ParityStatus::kOk);
  EXPECT_EQ(status_of(kDiverged), ParityStatus::kDiverged);
  EXPECT_EQ(status_of(kMistrusted), ParityStatus::kMistrusted);
}

}  // namespace
}  // namespace tern::outcome
