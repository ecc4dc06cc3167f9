#include "tern/outcome/scenario_outcome.h"

namespace tern::outcome {

std::string_view parity_status_name(ParityStatus status) {
  switch (status) {
    case ParityStatus::kOk:
      return "ok";
    case ParityStatus::kRustOnly:
      return "rust_only";
    case ParityStatus::kDiverged:
      return "diverged";
    case ParityStatus::kReferenceFailed:
      return "reference_failed";
    case ParityStatus::kMistrusted:
      return "mistrusted";
    case ParityStatus::kSubjectFailed:
      return "subject_failed";
  }
  return "?";
}

}  // namespace tern::outcome
