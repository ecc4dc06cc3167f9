#include "tern/outcome/status.h"

#include <algorithm>
#include <array>

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

constexpr std::array kRanking = {3, 4, 1, kNoVerdict, 0};

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

int highest_ranking(std::span<const int> exit_codes) {
  const auto* first = std::ranges::find_first_of(kRanking, exit_codes);
  return first == kRanking.end() ? kNoVerdict : *first;
}

}  // namespace tern::outcome
