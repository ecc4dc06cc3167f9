#include <gtest/gtest.h>

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

TEST(SweepExitCode, FailureOutranksMistrustOutranksDivergence) {
  using enum ParityStatus;
  EXPECT_EQ(code_of({kOk, kOk}), 0);
  EXPECT_EQ(code_of({kOk, kRustOnly}), 0);
  EXPECT_EQ(code_of({kOk, kRustOnly}, true), 5);
  EXPECT_EQ(code_of({kOk, kDiverged, kOk}), 1);
  EXPECT_EQ(code_of({kDiverged, kMistrusted}), 5);
  EXPECT_EQ(code_of({kDiverged, kRustOnly}, true), 5);
  EXPECT_EQ(code_of({kMistrusted, kReferenceFailed}), 4);
  EXPECT_EQ(code_of({kSubjectFailed, kOk}), 4);
  EXPECT_EQ(code_of({}), 5) << "a sweep of nothing is no parity";
}

}  // namespace
}  // namespace tern::outcome
