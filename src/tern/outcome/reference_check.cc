#include "tern/outcome/reference_check.h"

#include <algorithm>

namespace tern::outcome {

std::string_view check_status_name(ReferenceCheck::Status status) {
  switch (status) {
    case ReferenceCheck::Status::kPassed:
      return "passed";
    case ReferenceCheck::Status::kFailed:
      return "failed";
    case ReferenceCheck::Status::kSkipped:
      return "skipped";
  }
  return "?";
}

const ReferenceCheck* ReferenceCheckResult::first_failed() const {
  const auto it = std::find_if(checks.begin(), checks.end(),
                               [](const auto& check) { return check.status == ReferenceCheck::Status::kFailed; });
  return it == checks.end() ? nullptr : &*it;
}

}  // namespace tern::outcome
