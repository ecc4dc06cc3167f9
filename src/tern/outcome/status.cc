#include "tern/outcome/status.h"

#include <algorithm>

#include "tern/base/check.h"

namespace tern::outcome {
namespace {

struct StatusRow {
  ParityStatus status;
  std::string_view name;
  int exit_code;
};
constexpr int kNoVerdict = 5;
constexpr StatusRow kStatuses[] = {
    {ParityStatus::kOk, "ok", 0},
    {ParityStatus::kRustOnly, "rust_only", 0},
    {ParityStatus::kDiverged, "diverged", 1},
    {ParityStatus::kMistrusted, "mistrusted", kNoVerdict},
    {ParityStatus::kReferenceFailed, "reference_failed", 4},
    {ParityStatus::kSubjectFailed, "subject_failed", 4},
    {ParityStatus::kMachineFailed, "machine_failed", 3},
};

struct VerdictRow {
  compare::VerdictKind verdict;
  ParityStatus status;
};
constexpr VerdictRow kVerdicts[] = {
    {compare::VerdictKind::kMatch, ParityStatus::kOk},
    {compare::VerdictKind::kWithinTolerance, ParityStatus::kOk},
    {compare::VerdictKind::kDiverged, ParityStatus::kDiverged},
    {compare::VerdictKind::kMistrusted, ParityStatus::kMistrusted},
};

// In the order of their ranks.
struct ExitCodeRow {
  int exit_code;
  std::string_view title;
};
constexpr ExitCodeRow kExitCodes[] = {{3, "The machine failed"},
                                      {4, "An engine failed"},
                                      {1, "Divergence"},
                                      {kNoVerdict, "No verdict possible"},
                                      {0, "Parity"}};

const StatusRow& row_of(ParityStatus status) {
  const auto* row = std::ranges::find(kStatuses, status, &StatusRow::status);
  TERN_CHECK(row != std::end(kStatuses));
  return *row;
}

}  // namespace

std::string_view parity_status_name(ParityStatus status) { return row_of(status).name; }

ParityStatus status_of(compare::VerdictKind verdict) {
  const auto* row = std::ranges::find(kVerdicts, verdict, &VerdictRow::verdict);
  TERN_CHECK(row != std::end(kVerdicts));
  return row->status;
}

int exit_code(ParityStatus status, bool reference_required) {
  return status == ParityStatus::kRustOnly && reference_required ? kNoVerdict : row_of(status).exit_code;
}

std::string_view exit_code_title(int exit_code) {
  const auto* row = std::ranges::find(kExitCodes, exit_code, &ExitCodeRow::exit_code);
  TERN_CHECK(row != std::end(kExitCodes));
  return row->title;
}

int highest_ranking(std::span<const int> exit_codes) {
  const auto* first = std::ranges::find_first_of(kExitCodes, exit_codes, {}, &ExitCodeRow::exit_code);
  return first == std::end(kExitCodes) ? kNoVerdict : first->exit_code;
}

}  // namespace tern::outcome
