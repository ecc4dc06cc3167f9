#include "tern/sweep/scenario_verdict.h"

#include <fmt/format.h>

namespace tern::sweep {
namespace {

using outcome::Execution;
using outcome::ParityStatus;
using outcome::ScenarioOutcome;

std::string failure_sentence(std::string_view side, const Execution& execution) {
  std::string out = fmt::format("the {} {}", side, execution.failure);
  if (execution.last_tensor) {
    out += fmt::format("; the last tensor it traced is {}", *execution.last_tensor);
  }
  return out;
}

ParityStatus status_of(compare::VerdictKind verdict) {
  switch (verdict) {
    case compare::VerdictKind::kMatch:
    case compare::VerdictKind::kWithinTolerance:
      return ParityStatus::kOk;
    case compare::VerdictKind::kDiverged:
      return ParityStatus::kDiverged;
    case compare::VerdictKind::kMistrusted:
    case compare::VerdictKind::kSkipped:
    case compare::VerdictKind::kFailed:
      break;
  }
  return ParityStatus::kMistrusted;
}

std::string match_sentence(const compare::RunComparison& comparison) {
  return fmt::format("{} of {} tensors are equal bit for bit, and so are {} of {} generated tokens",
                     comparison.n_hash_equal, comparison.coverage.tensors_compared, comparison.tokens.n_equal,
                     comparison.tokens.n_compared);
}

// The first tensor that holds NaN or infinity. Without a reference nothing else would notice.
std::string not_finite(const trace::EngineRun& run) {
  size_t n = 0;
  const trace::TraceRecord* first = nullptr;
  for (const trace::TraceRecord& record : run.trace) {
    if (!record.finite_rms()) {
      first = first == nullptr ? &record : first;
      ++n;
    }
  }
  return first == nullptr ? std::string()
                          : fmt::format("{} is the first of {} tensors of the subject that hold NaN or infinity",
                                        first->id.name(), n);
}

}  // namespace

void judge(const SweepPlan& plan, const peer::PeerRun& subject, const std::optional<peer::PeerRun>& reference,
           ScenarioOutcome& outcome) {
  const auto set = [&outcome](ParityStatus status, std::string reason) {
    outcome.status = status;
    outcome.reason = std::move(reason);
  };
  if (!subject.run) {
    return set(ParityStatus::kSubjectFailed, failure_sentence("subject", outcome.subject));
  }
  if (!reference) {
    const std::string trouble = not_finite(*subject.run);
    return trouble.empty() ? set(ParityStatus::kRustOnly, "there is no reference to hold it against")
                           : set(ParityStatus::kMistrusted, trouble);
  }
  if (reference->no_recording) {
    return set(plan.reference_was_chosen ? ParityStatus::kMistrusted : ParityStatus::kRustOnly,
               "nothing was compared: " + outcome.reference.failure);
  }
  if (!reference->run) {
    return set(ParityStatus::kReferenceFailed, failure_sentence("reference", outcome.reference));
  }
  const compare::Verdict& verdict = outcome.comparison->verdict;
  set(status_of(verdict.kind), verdict.reason.empty() ? match_sentence(*outcome.comparison) : verdict.reason);
  if (!plan.reference_distrust.empty()) {
    set(ParityStatus::kMistrusted, plan.reference_distrust + "; held against it all the same: " + outcome.reason);
  }
}

void hear_oracle(ScenarioOutcome& outcome) {
  const compare::Arbitration& arbitration = *outcome.arbitration;
  const std::string cause =
      outcome.cause && outcome.cause->id != "unknown" ? fmt::format(" (cause: {})", outcome.cause->id) : "";
  switch (arbitration.wrong()) {
    case compare::Wrong::kNeither:
      if (outcome.status == ParityStatus::kDiverged && arbitration.n_subject > 0) {
        outcome.reason += "; " + arbitration.reason;
      }
      return;
    case compare::Wrong::kSubject:
      outcome.status = ParityStatus::kDiverged;
      break;
    case compare::Wrong::kReference:
    case compare::Wrong::kBoth:
      outcome.status = ParityStatus::kMistrusted;
      break;
  }
  outcome.reason = arbitration.reason + cause + "; held against each other: " + outcome.reason;
}

}  // namespace tern::sweep
