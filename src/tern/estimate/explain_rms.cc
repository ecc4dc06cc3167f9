// A side of which only the RMS of each tensor is known. Its inputs were right up to the first wrong tensor, so there
// the oracle's own values stand in; a number that fits this RMS is then held against the RMS of all that is computed
// behind it, in a whole pass with the proposal.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>

#include "tern/base/check.h"
#include "tern/estimate/explain_parts.h"
#include "tern/estimate/numerics.h"
#include "tern/estimate/rms_facts.h"
#include "tern/estimate/substituted_pass.h"
#include "tern/estimate/weight_map.h"

namespace tern::estimate {
namespace {

using outcome::Cause;
using trace::StageKind;
using trace::TensorId;

constexpr double kSameDistance = 0.02;  // tolerances
// For a number that fits any RMS and equals nothing known: a listed fault may explain the RMS better.
constexpr double kConfidenceOfAnyNumber = 0.28;
// Products of all passes together: some ten seconds.
constexpr double kMaxProducts = 1e10;
constexpr size_t kMaxCandidates = 96;

// Where else than in the first wrong tensor a proposal holds.
enum class Scope { kThisTensor, kThisStage, kThisLayer, kEverywhere };  // from the narrowest on
constexpr Scope kScopes[] = {Scope::kEverywhere, Scope::kThisStage, Scope::kThisLayer, Scope::kThisTensor};

Proposal within(const Proposal& proposal, Scope scope, const TensorId& at) {
  Proposal limited = proposal;
  if (proposal.with_number) {
    limited.with_number = [with = proposal.with_number, scope, at](double number) {
      return within(with(number), scope, at);
    };
  }
  limited.recompute = [recompute = proposal.recompute, scope, at](const StageFacts& facts) -> std::optional<Matrix> {
    const bool any_stage = scope == Scope::kThisLayer || scope == Scope::kEverywhere;
    const bool any_layer = scope == Scope::kThisStage || scope == Scope::kEverywhere;
    const bool is_meant = (any_stage || facts.id().stage == at.stage) && (any_layer || facts.id().layer == at.layer);
    return is_meant ? recompute(facts) : std::nullopt;
  };
  return limited;
}

std::vector<int32_t> fed_tokens(const trace::RunResult& result, int n_steps) {
  return tokens_of_piece(result, 1, 0, static_cast<size_t>(std::max(n_steps, 0)));
}

struct Candidate {
  Proposal proposal;
  TensorId place;
  std::vector<StageKind> kinds;  // its own first
  Scope scope = Scope::kEverywhere;
  RmsFacts::Fit fit = {};
  bool is_possible = true;  // it leaves alone what is known to be right
};

class RmsExplanation {
 public:
  RmsExplanation(const WrongSide& wrong, const oracle::Steps& steps, Json& tried)
      : wrong_(wrong), steps_(steps), tried_(tried) {}

  Result<std::optional<Cause>> run() {
    const compare::FirstWrong& wrong = wrong_.arbitration->first_wrong.subject;
    first_ = *wrong.shown();
    place_ = wrong.is_placed() ? wrong.first() : std::nullopt;
    plan(first_);
    TERN_ASSIGN_OR_RETURN(SubstitutedRms plain, rms_with(nullptr, {}, plan_, steps_));
    known_.emplace(*wrong_.side.run, std::move(plain.rms), *wrong_.noise);
    if (!known_->has(first_) || !has_facts(first_)) {
      return std::nullopt;
    }
    const compare::StageArbitration* const stage = wrong_.arbitration->find(first_);
    if (stage != nullptr && stage->sides.subject.local) {
      known_->hold_more_narrowly(first_, compare::kFloorAllowance * stage->sides.subject.local->floor.relative);
    }
    collect();
    TERN_RETURN_IF_ERROR(collect_layer_order());
    for (Candidate& candidate : candidates_) {
      TERN_ASSIGN_OR_RETURN(const SubstitutedRms computed,
                            rms_with(&candidate.proposal, candidate.kinds, plan_, steps_));
      // What holds everywhere may have begun where it did not show.
      if (computed.first_changed && *computed.first_changed < candidate.place) {
        const bool is_its_stage = computed.first_changed->stage.kind() == candidate.kinds.front();
        candidate.place = *computed.first_changed;
        candidate.place.stage =
            is_its_stage ? candidate.proposal.place.value_or(candidate.place.stage) : candidate.place.stage;
        candidate.is_possible = may_be_at(candidate.place);
      }
      candidate.fit = known_->fit(computed.rms, std::min(first_, candidate.place), first_);
    }
    return conclude();
  }

 private:
  void plan(const TensorId& wrong) {
    const trace::EngineRun& exact = *wrong_.exact;
    plan_.prompt = exact.result.prompt_tokens;
    plan_.fed = fed_tokens(exact.result, wrong.seq);
    const auto pieces = pieces_up_to(exact, {0, 1 << 20, wrong.layer, wrong.stage});
    if (pieces.size() > 1) {
      plan_.ubatch = pieces.front().second;
    }
    double per_token = 0;
    for (const gguf::Tensor& tensor : steps_.view().tensors()) {
      per_token += tensor.dims.size() > 1 ? static_cast<double>(tensor.n_elements()) : 0;
    }
    const auto n_tokens = static_cast<double>(plan_.prompt.size() + plan_.fed.size());
    plan_.around = wrong_.around;
    if (!plan_.around && per_token * n_tokens * static_cast<double>(kMaxCandidates) > kMaxProducts) {
      plan_.around = wrong;
    }
    if (plan_.around) {
      per_token /= static_cast<double>(steps_.hyperparameters().n_layers);
    }
    max_candidates_ = static_cast<size_t>(
        std::clamp(kMaxProducts / (per_token * n_tokens), 4.0, static_cast<double>(kMaxCandidates)));
    plan_.known_before = wrong_.known_before;
    plan_.given = [this](const TensorId& id) { return given(id); };
  }

  std::optional<Matrix> given(const TensorId& id) const {
    const bool is_known = wrong_.known_before && id < *wrong_.known_before;
    for (const trace::EngineRun* run : {is_known ? wrong_.before : wrong_.exact, wrong_.before}) {
      const auto* entry = run != nullptr && run->values ? run->values->find(id.name()) : nullptr;
      if (entry != nullptr) {
        return matrix_of(entry->shape, entry->values);
      }
    }
    return std::nullopt;
  }
  StageFacts facts_of(const TensorId& id) const {
    return {*wrong_.side.run, *wrong_.exact, steps_, id, wrong_.before, wrong_.known_before};
  }
  bool has_facts(const TensorId& id) const { return wrong_.exact->find(id) != nullptr && given(id).has_value(); }

  // Those that fit the RMS of the first wrong tensor come first; then those of stages before it whose own RMS does not
  // show them: neither a sign nor another order of rows does.
  void collect() {
    collect_at(first_);
    by_simplicity();
    std::vector<Candidate> of_first = std::move(candidates_);
    of_first.resize(std::min(of_first.size(), std::max<size_t>(max_candidates_ / 2, 4)));
    candidates_.clear();
    for (const auto& [id, rms] : known_->plain()) {
      const bool is_near = id.seq == first_.seq && id.ubatch == first_.ubatch && id.layer == first_.layer &&
                           (id.stage.kind() == StageKind::kProjection || id.stage.kind() == StageKind::kMixing);
      if (id != first_ && (id == place_ || (is_near && id < first_))) {
        collect_at(id);
      }
    }
    by_simplicity();
    of_first.insert(of_first.end(), candidates_.begin(), candidates_.end());
    candidates_ = std::move(of_first);
    candidates_.resize(std::min(candidates_.size(), max_candidates_));
  }
  void by_simplicity() {
    std::stable_sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
      return a.proposal.simplicity > b.proposal.simplicity;
    });
  }

  // A known place is the only one. Otherwise the cause is at none of the tensors that are known to be right.
  bool may_be_at(const TensorId& place) const {
    return place_ ? place == *place_ : !wrong_.known_before || !(place < *wrong_.known_before);
  }

  // Whether the proposal may leave an RMS as it is, or nearly so. Another matrix changes it.
  static bool may_be_unseen(const Proposal& proposal) {
    return proposal.id == "weight_sign" || proposal.id == "qk_row_permutation" || proposal.id == "head_order" ||
           proposal.id == "gqa_head_map";
  }

  // Logits may be known where nothing else is. What went into them differs by the rounding of all before.
  bool agrees(const TensorId& id, const Matrix& y) const {
    const auto held = hold_against(wrong_, id, y);
    return held && !held->wrong;
  }

  void collect_at(const TensorId& id) {
    constexpr double kUnseen = 1e-6;
    const bool has_to_show = id == first_;
    const Estimator estimator = estimator_of(id.stage.kind());
    if (estimator == nullptr || !known_->has(id) || !has_facts(id)) {
      return;
    }
    const StageFacts facts = facts_of(id);
    for (const Proposal& proposal : estimator(facts)) {
      if (!has_to_show && !may_be_unseen(proposal) && id != place_) {
        continue;
      }
      const auto y = proposal.recompute(facts);
      const double off = y ? misfit(facts, *y) : 1;
      const double most = proposal.id == "gqa_head_map" ? known_->tolerance(id) : kUnseen;
      const bool is_unseen = y && std::abs(rms_of(*y) - rms_of(facts.should())) <= most * rms_of(facts.should());
      const bool fits = y && facts.is() ? agrees(id, *y) : off <= known_->tolerance(id);
      if (!has_to_show && !is_unseen && id != place_) {
        continue;
      }
      if (!fits) {
        tried_.push_back(tried_json(proposal, id, off, false));
        continue;
      }
      TensorId place = id;
      place.stage = proposal.place.value_or(id.stage);
      if (!may_be_at(place)) {
        continue;
      }
      std::vector<StageKind> kinds = {id.stage.kind()};
      kinds.insert(kinds.end(), proposal.also.begin(), proposal.also.end());
      for (const Scope scope : kScopes) {
        candidates_.push_back({within(proposal, scope, id), place, kinds, scope});
      }
    }
  }

  // Finds, layer by layer from the first wrong one on, whose weights bring the RMS of its tensors back: of norms and
  // matrices, or of matrices alone, and with either scale.
  Status collect_layer_order() {
    const StageKind kind = first_.stage.kind();
    const bool has_weight = kind == StageKind::kNorm || kind == StageKind::kProjection;
    if (first_.layer < 0 || !has_weight || max_candidates_ < kMaxCandidates) {
      return {};
    }
    const gguf::Tensor* const matrix = steps_.weight_of(trace::Stage::kQProj, first_.layer);
    const bool has_scales = matrix != nullptr && steps_.weight_scale(*matrix) != 1;
    for (const KeptScale scale : {KeptScale::kOfTheCodes, KeptScale::kOfThePlace}) {
      for (const bool matrices_only : {false, true}) {
        if ((scale == KeptScale::kOfThePlace && !has_scales) || (matrices_only && kind == StageKind::kNorm)) {
          continue;
        }
        TERN_ASSIGN_OR_RETURN(const auto order, layer_order(matrices_only, scale));
        if (order) {
          candidates_.push_back(
              {order->proposal(), place_.value_or(first_), {StageKind::kNorm, StageKind::kProjection}});
          return {};
        }
      }
    }
    return {};
  }

  // nullopt where the first wrong layer reads its own.
  Result<std::optional<LayerOrder>> layer_order(bool matrices_only, KeptScale scale) {
    const int n_layers = steps_.hyperparameters().n_layers;
    LayerOrder order{std::vector<int>(static_cast<size_t>(n_layers)), matrices_only, scale};
    std::iota(order.reads.begin(), order.reads.end(), 0);
    const int end = plan_.around ? first_.layer + 1 : n_layers;
    for (int layer = first_.layer; layer < end; ++layer) {
      int& read = order.reads[static_cast<size_t>(layer)];
      double best = std::numeric_limits<double>::infinity(), own = best;
      int best_read = layer;
      for (int other = 0; other < n_layers; ++other) {
        read = other;
        const Proposal proposal = order.proposal();
        TERN_ASSIGN_OR_RETURN(const SubstitutedRms computed,
                              rms_with(&proposal, {StageKind::kNorm, StageKind::kProjection}, plan_, steps_));
        const double distance = known_->distance_in_layer(computed.rms, layer, first_.seq);
        own = other == layer ? distance : own;
        best_read = distance < best ? other : best_read;
        best = std::min(best, distance);
      }
      read = best < 0.3 * own ? best_read : layer;
      if (layer == first_.layer && read == layer) {
        return std::nullopt;
      }
      if (best > RmsFacts::kWorst / 3) {
        break;  // no order of layers explains it
      }
    }
    return order;
  }

  // Whether as many tensors are within what rounding explains of them with another number in a proposal's place.
  // `facts`: of the first wrong tensor.
  bool explains_as_much(const Candidate& best, const StageFacts& facts, double number) const {
    const Proposal other = best.proposal.with_number(number);
    const auto y = other.recompute(facts);
    if (y && misfit(facts, *y) > known_->tolerance(first_)) {
      return false;
    }
    if (max_candidates_ < kMaxCandidates) {  // passes are dear
      return true;
    }
    const auto computed = rms_with(&other, best.kinds, plan_, steps_);
    return computed && known_->fit(computed->rms, std::min(first_, best.place), first_).n_within >= best.fit.n_within;
  }

  // The furthest number on one side of the solved one, above 0, that explains as much.
  double furthest(const Candidate& best, const StageFacts& facts, double solved, bool upwards) const {
    constexpr double kFirstStep = 1e-4, kMost = 1e3;
    constexpr int kHalvings = 6;
    const auto at = [&](double step) { return solved * std::exp(upwards ? step : -step); };
    double near = 0, far = kFirstStep;
    while (far < std::log(kMost) && explains_as_much(best, facts, at(far))) {
      near = far;
      far *= 3;
    }
    for (int i = 0; i < kHalvings; ++i) {
      const double middle = (near + far) / 2;
      (explains_as_much(best, facts, at(middle)) ? near : far) = middle;
    }
    return at(near);
  }

  // States the range of a number that RMS allows, and returns its least number over its greatest.
  double state_range(const Candidate& best, Json& parameters, std::string& says) const {
    const std::string& number = best.proposal.number;
    if (number.empty()) {
      return 1;
    }
    const double solved = parameters[number].get<double>();
    const StageFacts facts = facts_of(first_);
    const double low = furthest(best, facts, solved, false), high = furthest(best, facts, solved, true);
    parameters[number + "_range"] = {low, high};
    says += fmt::format(" (RMS allows {:.6g} to {:.6g})", low, high);
    return low / high;
  }

  // A number that fits any RMS has to explain nearly all.
  static double least_share(const Proposal& proposal) { return proposal.simplicity > kFitsAnything ? 0.5 : 0.9; }

  // Whether what the proposal leaves wrong is another mistake's: it explains its own layer and the beginning of the
  // next one, or much of what is wrong before. A number fits the RMS of its own place in any case.
  static bool leaves_another(const Candidate& candidate) {
    constexpr size_t kMuch = 6;
    const RmsFacts::Fit& fit = candidate.fit;
    if (fit.left_wrong.empty()) {
      return false;
    }
    const bool is_any_number = candidate.proposal.simplicity <= kFitsAnything;
    const TensorId &next = fit.left_wrong.front(), &place = candidate.place;
    const bool is_behind_the_layer = next.seq > place.seq || next.layer > std::max(place.layer, 0) ||
                                     next.stage.row().place == trace::StagePlace::kBehindLayers;
    return (is_behind_the_layer && fit.n_mended_before_wrong > (is_any_number ? 1U : 0U)) ||
           fit.n_mended_before_wrong >= kMuch;
  }

  std::optional<Cause> conclude() {
    const RmsFacts::Fit without = known_->fit(known_->plain(), first_, first_);
    std::vector<const Candidate*> good, beside_another;
    for (const Candidate& candidate : candidates_) {
      const RmsFacts::Fit& fit = candidate.fit;
      const double share = static_cast<double>(fit.n_within) / static_cast<double>(fit.n);
      const bool begins = candidate.is_possible && fit.begins_well() && fit.at_first <= known_->tolerance(first_);
      const bool explains = begins && fit.distance * 2 < without.distance && share > least_share(candidate.proposal);
      tried_.push_back(tried_json(candidate.proposal, candidate.place, candidate.fit.at_first, explains));
      tried_.back()["mean_distance_in_tolerances"] = json_number(candidate.fit.distance);
      if (explains) {
        good.push_back(&candidate);
      } else if (begins && leaves_another(candidate)) {
        beside_another.push_back(&candidate);
      }
    }
    if (good.empty() && !beside_another.empty()) {
      size_t longest = 0;
      for (const Candidate* candidate : beside_another) {
        longest = std::max(longest, candidate->fit.n_before_wrong);
      }
      std::erase_if(beside_another, [&](const Candidate* c) { return c->fit.n_before_wrong < longest; });
      good = std::move(beside_another);
    }
    if (good.empty()) {
      return std::nullopt;
    }
    const double least = (*std::min_element(good.begin(), good.end(), [](const Candidate* a, const Candidate* b) {
                           return a->fit.distance < b->fit.distance;
                         }))->fit.distance;
    std::erase_if(good, [&](const Candidate* c) { return c->fit.distance > 1.2 * least + 0.2; });
    // Of two that explain as much, the one that changes less.
    const auto rank = [](const Candidate* c) {
      return std::tuple(c->proposal.simplicity, -std::round(c->fit.distance / kSameDistance),
                        -static_cast<int>(c->scope), -c->fit.distance);
    };
    const Candidate& best = **std::max_element(
        good.begin(), good.end(), [&](const Candidate* a, const Candidate* b) { return rank(a) < rank(b); });
    const auto n_equal = std::count_if(good.begin(), good.end(), [&](const Candidate* c) {
      return c->proposal.simplicity == best.proposal.simplicity && c->scope <= best.scope &&
             (c->proposal.id != best.proposal.id || c->proposal.parameters != best.proposal.parameters);
    });
    std::vector<std::string> unexplained;
    for (const TensorId& id : best.fit.left_wrong) {
      unexplained.push_back(id.name());
    }
    const double share = static_cast<double>(best.fit.n_within) / static_cast<double>(best.fit.n);
    Json parameters = best.proposal.parameters;
    std::string says = best.proposal.says;
    const double narrowness = state_range(best, parameters, says);
    return Cause{
        best.proposal.id,
        best.place.name(),
        (best.proposal.simplicity > kFitsAnything ? outcome::kMostConfidenceByRms : kConfidenceOfAnyNumber) * share *
            narrowness / static_cast<double>(1 + n_equal),
        fmt::format(
            "{}: the RMS of {}, off by {:.3g}, is then off by {:.3g}, and of {} tensors from there on {} have an "
            "RMS within what rounding explains of it ({:.2g} to {:.2g}){}; only their RMS is known{}",
            says, first_.name(), without.at_first, best.fit.at_first, best.fit.n, best.fit.n_within,
            best.fit.least_tolerance, best.fit.most_tolerance,
            unexplained.empty()
                ? std::string()
                : fmt::format("; {} {} more than rounding explains, from {} on", unexplained.size(),
                              unexplained.size() == 1 ? "is off by" : "are off by", unexplained.front()),
            n_equal > 0 ? fmt::format("; {} other reading{} explain{} as much", n_equal, n_equal == 1 ? "" : "s",
                                      n_equal == 1 ? "s" : "")
                        : ""),
        std::move(parameters),
        std::move(unexplained),
        tried_};
  }

  const WrongSide& wrong_;
  const oracle::Steps& steps_;
  Json& tried_;
  PassPlan plan_;
  size_t max_candidates_ = kMaxCandidates;
  std::optional<RmsFacts> known_;
  TensorId first_;                 // whose RMS shows that something is wrong
  std::optional<TensorId> place_;  // where it is, if that is known
  std::vector<Candidate> candidates_;
};

}  // namespace

Result<std::optional<Cause>> explain_rms(const WrongSide& wrong, const oracle::Steps& steps, Json& tried) {
  return RmsExplanation(wrong, steps, tried).run();
}

}  // namespace tern::estimate
