#include "tern/sweep/scenario_verdict.h"

#include <fmt/format.h>

namespace tern::sweep {
namespace {

using outcome::Execution;
using outcome::ParityStatus;
using outcome::ScenarioOutcome;

std::string failure_sentence(const ScenarioOutcome& outcome, compare::Side side) {
  const Execution& execution = outcome.sides.at(side).execution;
  std::string out = fmt::format("the {} {}", compare::side_name(side), execution.failure);
  if (execution.last_tensor) {
    out += fmt::format("; the last tensor it traced is {}", *execution.last_tensor);
  }
  return out;
}

}  // namespace

std::optional<StatusAndReason> without_judgement(const peer::PeerRun& subject,
                                                 const std::optional<peer::PeerRun>& reference,
                                                 const ScenarioOutcome& outcome) {
  if (!subject.run) {
    return {{ParityStatus::kSubjectFailed, failure_sentence(outcome, compare::Side::kSubject)}};
  }
  if (reference && reference->no_recording) {
    return {{ParityStatus::kMistrusted, "nothing was compared: " + outcome.sides.reference.execution.failure}};
  }
  if (reference && !reference->run) {
    return {{ParityStatus::kReferenceFailed, failure_sentence(outcome, compare::Side::kReference)}};
  }
  return std::nullopt;
}

}  // namespace tern::sweep
