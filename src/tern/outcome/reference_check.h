// What the checks of a reference found (arbiter/reference_check.h makes them).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tern/outcome/cause.h"

namespace tern::outcome {

struct ReferenceCheck {
  enum class Status { kPassed, kFailed, kSkipped };
  std::string id;        // "repeatable"
  std::string question;  // "Does it give the same result twice?"
  Status status = Status::kSkipped;
  std::string evidence;  // one sentence with the figures, or why it was skipped
};
// "passed", "failed", "skipped"
std::string_view check_status_name(ReferenceCheck::Status status);

struct ReferenceCheckResult {
  std::vector<ReferenceCheck> checks;
  std::optional<Cause> cause;  // where it fails against the oracle
  std::string arithmetic;      // that it was found to follow bit for bit; empty: none that is known
  const ReferenceCheck* first_failed() const;
  bool trusted() const { return first_failed() == nullptr; }
};

}  // namespace tern::outcome
