#include "tern/estimate/recomputation.h"

#include <algorithm>

#include "tern/estimate/numerics.h"

namespace tern::estimate {

using trace::TensorId;

Recomputation::Recomputation(const WrongSide& wrong, const oracle::Steps& steps) : wrong_(wrong), steps_(steps) {
  for (const compare::StageArbitration& stage : wrong.arbitration->stages) {
    if (stage.sides.subject.wrong && stage.sides.subject.local) {
      wrong_ids_.push_back(stage.id);
    }
  }
}

const StageFacts& Recomputation::facts(const TensorId& id) {
  const auto known = facts_.find(id);
  if (known != facts_.end()) {
    return known->second;
  }
  StageFacts facts(*wrong_.side.run, *wrong_.exact, steps_, id, wrong_.before, wrong_.known_before);
  const auto* local = wrong_.side.isolation->find(id);
  const trace::TraceRecord* record = wrong_.exact->find(id);
  if (local != nullptr && record->finite_rms()) {
    facts.set_rounding(std::max(facts.rounding(), compare::kFloorAllowance * local->floor.largest * *record->rms));
  }
  return facts_.emplace(id, std::move(facts)).first->second;
}

bool Recomputation::has_facts(const TensorId& id) const {
  const trace::TraceRecord* record = wrong_.exact->find(id);
  return record != nullptr && record->finite_rms() && wrong_.exact->values &&
         wrong_.exact->values->find(id.name()) != nullptr;
}

std::optional<compare::AgainstOracle> Recomputation::hold(const Proposal& proposal, const TensorId& id) {
  const StageFacts& known = facts(id);
  const auto y = proposal.recompute(known);
  if (!y || y->values.size() != known.should().values.size()) {
    return std::nullopt;
  }
  if (known.is() && rms_of(*y) == 0 && rms_of(*known.is()) == 0) {  // a ratio to nothing is none
    return compare::AgainstOracle{.error = {}, .local = compare::LocalError{}};
  }
  auto held = hold_against(wrong_, id, *y);
  if (held && held->local && proposal.amplifies > 1) {
    held->wrong = held->local->multiple() > compare::kFloorAllowance * proposal.amplifies;
  }
  return held;
}

bool Recomputation::mends(const Proposal& proposal, const TensorId& id) {
  const auto held = hold(proposal, id);
  return held && !held->wrong;
}

}  // namespace tern::estimate
