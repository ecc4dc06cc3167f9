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
#include "tern/estimate/recomputation.h"
#include "tern/estimate/wider_causes.h"

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
    const auto& also = explained.proposal.also;
    const bool is_meant = may_share_a_cause(id.stage.kind(), first.stage.kind()) ||
                          std::find(also.begin(), also.end(), id.stage.kind()) != also.end();
    if (id != first && is_meant && again.has_facts(id) && again.mends(explained.proposal, id)) {
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
  for (Proposal& proposal : wider_causes(again, steps)) {
    Explained wider{std::move(proposal), 0, {}};
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
