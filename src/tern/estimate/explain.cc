#include "tern/estimate/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <set>
#include <tuple>

#include "tern/estimate/explain_parts.h"
#include "tern/estimate/numerics.h"
#include "tern/estimate/site.h"

namespace tern::estimate {
namespace {

using compare::StageArbitration;
using outcome::Cause;
using trace::StageKind;
using trace::TensorId;

// Kinds that one mistake may reach together.
bool may_share_a_cause(StageKind a, StageKind b) {
  const auto group = [](StageKind kind) {
    return kind == StageKind::kHead ? StageKind::kProjection : kind == StageKind::kMixing ? StageKind::kScores : kind;
  };
  return group(a) == group(b);
}

// Recomputes stages of the side, and holds what it computed against that.
class Recomputation {
 public:
  Recomputation(const WrongSide& wrong, const oracle::Steps& steps) : wrong_(wrong), steps_(steps) {
    for (const StageArbitration& stage : wrong.arbitration->stages) {
      if (stage.sides.subject.wrong && stage.sides.subject.local) {
        wrong_ids_.push_back(stage.id);
      }
    }
  }

  // Tensors that are wrong by themselves, in execution order.
  const std::vector<TensorId>& wrong_ids() const { return wrong_ids_; }

  const StageFacts& facts(const TensorId& id) {
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
  bool has_facts(const TensorId& id) const {
    const trace::TraceRecord* record = wrong_.exact->find(id);
    return record != nullptr && record->finite_rms() && wrong_.exact->values &&
           wrong_.exact->values->find(id.name()) != nullptr;
  }

  // The tensor as the side computed it, held against what the proposal makes of it; nullopt where it makes nothing.
  std::optional<compare::AgainstOracle> hold(const Proposal& proposal, const TensorId& id) {
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
  bool mends(const Proposal& proposal, const TensorId& id) {
    const auto held = hold(proposal, id);
    return held && !held->wrong;
  }

 private:
  const WrongSide& wrong_;
  const oracle::Steps& steps_;
  std::vector<TensorId> wrong_ids_;
  std::map<TensorId, StageFacts> facts_;
};

double error_of(const compare::AgainstOracle& held) {
  return held.local ? held.local->error.relative : held.error ? held.error->relative : 0;
}

// One proposal that explains the first wrong tensor, and what else it mends.
struct Explained {
  Proposal proposal;
  double error_at_first = 0;
  std::set<TensorId> mended;
};

Explained applied_everywhere(Proposal proposal, double error_at_first, const TensorId& first, Recomputation& again) {
  Explained explained{std::move(proposal), error_at_first, {first}};
  for (const TensorId& id : again.wrong_ids()) {
    if (id != first && may_share_a_cause(id.stage.kind(), first.stage.kind()) && again.has_facts(id) &&
        again.mends(explained.proposal, id)) {
      explained.mended.insert(id);
    }
  }
  return explained;
}

// Where the cause shows first: in the pass before, too, if it takes away of the error there at least half of what it
// does to a right stage, although that is within rounding. A scale that is slightly off may stay below the floor of a
// pass in which int8 activations take other steps.
TensorId beginning(const Proposal& proposal, const TensorId& first, const compare::Arbitration& arbitration,
                   Recomputation& again) {
  const auto distance = [](const Matrix& a, const Matrix& b) {
    return std::transform_reduce(a.values.begin(), a.values.end(), b.values.begin(), 0.0, std::plus<>(),
                                 [](double x, double y) { return (x - y) * (x - y); });
  };
  for (const StageArbitration& stage : arbitration.stages) {
    const TensorId& id = stage.id;
    if (!(id < first) || id.stage != first.stage || id.layer != first.layer || !stage.sides.subject.local ||
        !again.has_facts(id)) {
      continue;
    }
    const StageFacts& facts = again.facts(id);
    const auto y = proposal.recompute(facts);
    if (y && facts.is() && y->values.size() == facts.should().values.size()) {
      const double floor = stage.sides.subject.local->floor.relative * rms_of(facts.should());
      const double least = floor * floor * static_cast<double>(y->values.size());  // less is no measurement
      const double does = distance(*y, facts.should());
      const double taken = distance(*facts.is(), facts.should()) - distance(*facts.is(), *y);
      if (does > least && taken > does / 2) {
        return id;
      }
    }
  }
  return first;
}

// Which layer's weights each layer reads, as far as its wrong stages show: those of another if that mends a norm and a
// projection. Either kind alone is no matter of the layer. nullopt where no layer reads another's.
std::optional<Proposal> other_layers_order(Recomputation& again, int n_layers) {
  std::map<int, std::vector<TensorId>> by_layer;
  for (const TensorId& id : again.wrong_ids()) {
    const bool has_weight = id.stage.kind() == StageKind::kNorm || id.stage.kind() == StageKind::kProjection;
    if (id.layer >= 0 && has_weight && again.has_facts(id)) {
      by_layer[id.layer].push_back(id);
    }
  }
  std::vector<int> reads;
  for (int layer = 0; layer < n_layers; ++layer) {
    reads.push_back(layer);
  }
  bool found = false;
  const auto first_of = [](const std::vector<TensorId>& ids, StageKind kind) {
    return std::find_if(ids.begin(), ids.end(), [kind](const TensorId& id) { return id.stage.kind() == kind; });
  };
  for (const auto& [layer, ids] : by_layer) {
    const auto norm = first_of(ids, StageKind::kNorm), projection = first_of(ids, StageKind::kProjection);
    if (norm == ids.end() || projection == ids.end()) {
      continue;
    }
    const auto is_read = [&](int other, const TensorId& id) {
      Proposal one;
      one.recompute = [other](const StageFacts& facts) { return with_weight_of_layer(facts, other); };
      return again.mends(one, id);
    };
    for (int other = 0; other < n_layers; ++other) {
      if (other != layer && is_read(other, *norm) && is_read(other, *projection)) {
        reads[static_cast<size_t>(layer)] = other;
        found = true;
        break;
      }
    }
  }
  return found ? std::optional(LayerOrder(std::move(reads)).proposal()) : std::nullopt;
}

std::string left_wrong(const std::vector<std::string>& unexplained) {
  return unexplained.empty() ? std::string()
                             : fmt::format("; {} more {} wrong by {}, {}, and not explained by it", unexplained.size(),
                                           unexplained.size() == 1 ? "tensor is" : "tensors are",
                                           unexplained.size() == 1 ? "itself" : "themselves",
                                           unexplained.size() == 1 ? unexplained[0] : "from " + unexplained[0] + " on");
}

}  // namespace

Json tried_json(const Proposal& proposal, const TensorId& at, double error_left, bool explains) {
  return {{"id", proposal.id},
          {"name", at.name()},
          {"parameters", proposal.parameters},
          {"says", proposal.says},
          {"error_left", json_number(error_left)},
          {"explains", explains}};
}

std::optional<compare::AgainstOracle> hold_against(const WrongSide& wrong, const TensorId& id, const Matrix& y) {
  const std::vector<float> values(y.values.begin(), y.values.end());
  const trace::TraceRecord record = trace::make_record(id, wrong.exact->find(id)->shape, values);
  const auto held = compare::hold_tensor(wrong.side, *wrong.exact, record, values, *wrong.noise);
  return held.is_there() ? std::optional(held) : std::nullopt;
}

std::optional<Matrix> with_weight_of_layer(const StageFacts& facts, int layer) {
  const gguf::Tensor* own = weight_of_stage(facts);
  const gguf::Tensor* other = facts.steps().weight_of(facts.id().stage, layer);
  const auto x = input_of_stage(facts);
  if (own == nullptr || other == nullptr || other->dims != own->dims || !x || x->n_features != other->n_cols()) {
    return std::nullopt;
  }
  if (facts.id().stage.kind() == StageKind::kNorm) {
    return facts.steps().norm(*x, facts.steps().weight_row(*other, 0), facts.steps().hyperparameters().norm_epsilon);
  }
  return facts.id().stage.kind() == StageKind::kProjection ? std::optional(facts.steps().project(*x, *other))
                                                           : std::nullopt;
}

Proposal LayerOrder::proposal() const {
  std::string says;
  for (size_t layer = 0; layer < reads_.size(); ++layer) {
    if (reads_[layer] != static_cast<int>(layer)) {
      says += fmt::format("{}layer {} reads the weights of layer {}", says.empty() ? "" : ", ", layer, reads_[layer]);
    }
  }
  return {"layer_order",
          {{"order", reads_}},
          std::move(says),
          [reads = reads_](const StageFacts& facts) -> std::optional<Matrix> {
            const int layer = facts.id().layer;
            if (layer < 0 || static_cast<size_t>(layer) >= reads.size() || reads[static_cast<size_t>(layer)] == layer) {
              return std::nullopt;
            }
            return with_weight_of_layer(facts, reads[static_cast<size_t>(layer)]);
          },
          1};
}

std::optional<Cause> explain_values(const WrongSide& wrong, const oracle::Steps& steps, Json& tried) {
  const TensorId first = *wrong.arbitration->first_wrong.subject.first();
  Recomputation again(wrong, steps);
  const Estimator estimator = estimator_of(first.stage.kind());
  if (estimator == nullptr || !again.has_facts(first)) {
    return std::nullopt;
  }
  std::vector<Explained> explained;
  for (Proposal& proposal : estimator(again.facts(first))) {
    const auto held = again.hold(proposal, first);
    const bool explains = held && !held->wrong;
    tried.push_back(tried_json(proposal, first, held ? error_of(*held) : 1, explains));
    if (explains) {
      explained.push_back(applied_everywhere(std::move(proposal), error_of(*held), first, again));
    }
  }
  if (auto order = other_layers_order(again, steps.hyperparameters().n_layers)) {
    Explained wider{std::move(*order), 0, {}};
    for (const TensorId& id : again.wrong_ids()) {
      const auto held = again.has_facts(id) ? again.hold(wider.proposal, id) : std::nullopt;
      if (held && !held->wrong) {
        wider.mended.insert(id);
        wider.error_at_first = id == first ? error_of(*held) : wider.error_at_first;
      }
    }
    tried.push_back(tried_json(wider.proposal, first, wider.error_at_first, wider.mended.contains(first)));
    if (wider.mended.contains(first)) {
      explained.push_back(std::move(wider));
    }
  }
  if (explained.empty()) {
    return std::nullopt;
  }
  const auto rank = [](const Explained& e) {
    return std::tuple(e.mended.size(), e.proposal.simplicity, -e.error_at_first);
  };
  const auto best = std::max_element(explained.begin(), explained.end(),
                                     [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
  // Counts the other proposals that explain as much, as simply.
  const auto n_equal = std::count_if(explained.begin(), explained.end(), [&](const Explained& other) {
    return other.mended.size() == best->mended.size() && other.proposal.simplicity == best->proposal.simplicity &&
           other.error_at_first != best->error_at_first &&  // otherwise the same in other words
           (other.proposal.id != best->proposal.id || other.proposal.parameters != best->proposal.parameters);
  });
  std::vector<std::string> unexplained;
  for (const TensorId& id : again.wrong_ids()) {
    if (!best->mended.contains(id)) {
      unexplained.push_back(id.name());
    }
  }
  const StageArbitration& stage = *wrong.arbitration->find(first);
  std::string evidence = fmt::format(
      "{}: computed so from the same inputs, the relative error of {} falls from {:.3g} to {:.3g}, within rounding; "
      "it mends {} of {} tensors that are wrong by themselves{}{}",
      best->proposal.says, first.name(), error_of(stage.sides.subject), best->error_at_first, best->mended.size(),
      again.wrong_ids().size(), left_wrong(unexplained),
      n_equal > 0 ? fmt::format("; {} other reading{} explain{} as much", n_equal, n_equal == 1 ? "" : "s",
                                n_equal == 1 ? "s" : "")
                  : "");
  const double share = static_cast<double>(best->mended.size()) / static_cast<double>(again.wrong_ids().size());
  return Cause{best->proposal.id,
               beginning(best->proposal, first, *wrong.arbitration, again).name(),
               share / static_cast<double>(1 + n_equal),
               evidence,
               best->proposal.parameters,
               std::move(unexplained),
               tried};
}

Result<std::optional<Cause>> explain(const WrongSide& wrong, const oracle::Steps& steps, Json& tried) {
  tried = Json::array();
  const auto first = wrong.arbitration->first_wrong.subject.first();
  if (!first || !first->stage.is_known()) {
    return std::nullopt;
  }
  if (wrong.side.isolation != nullptr && wrong.arbitration->find(*first)->sides.subject.local) {
    return explain_values(wrong, steps, tried);
  }
  return explain_rms(wrong, steps, tried);
}

}  // namespace tern::estimate
