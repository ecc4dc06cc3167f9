#include "tern/arbiter/cause.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "tern/compare/pattern.h"
#include "tern/trace/record.h"
#include "tern/trace/run_folder.h"
#include "tern/trace/stage.h"

namespace tern::arbiter {
namespace {

using compare::StageArbitration;
using outcome::Cause;
using trace::Stage;

// Of what is wrong by its RMS alone, a fault that mends less of it is not the cause.
constexpr double kLeastShareByRms = 0.3;

bool is_product(Stage stage) {
  return stage.kind() == trace::StageKind::kProjection || stage.kind() == trace::StageKind::kHead;
}

// What a value may differ by for reasons of rounding, in the tensor's unit.
double largest_noise(const StageArbitration& stage, double rms) {
  return rms * (stage.sides.subject.local ? compare::kFloorAllowance * stage.sides.subject.local->floor.largest
                                          : stage.bound.largest);
}

// Outputs that are wrong for some token.
std::vector<size_t> wrong_outputs(std::span<const float> is, std::span<const float> should, size_t n_features,
                                  double noise) {
  std::vector<size_t> wrong;
  for (size_t feature = 0; feature < n_features; ++feature) {
    for (size_t i = feature; i < should.size(); i += n_features) {
      if (!(std::abs(static_cast<double>(is[i]) - static_cast<double>(should[i])) <= noise)) {
        wrong.push_back(feature);
        break;
      }
    }
  }
  return wrong;
}

// One tensor of the side, and what it should be.
struct Values {
  const trace::TraceRecord* record = nullptr;
  std::span<const float> is, should;
};

std::optional<Values> values_of(const trace::EngineRun& run, const trace::EngineRun& exact, const trace::TensorId& id) {
  const auto* is = run.values ? run.values->find(id.name()) : nullptr;
  const auto* should = exact.values ? exact.values->find(id.name()) : nullptr;
  const trace::TraceRecord* record = exact.find(id);
  if (is == nullptr || should == nullptr || is->shape != should->shape || record == nullptr || !record->rms) {
    return std::nullopt;
  }
  return Values{record, is->values, should->values};
}

// null where it is not recorded, or no number.
Json rms_json(const trace::EngineRun& run, const trace::TensorId& id) {
  const trace::TraceRecord* const record = run.find(id);
  return record != nullptr && record->finite_rms() ? json_number(*record->finite_rms()) : Json(nullptr);
}

bool is_held_by_values(const compare::AgainstOracle& held) {
  return held.local || (held.error && !held.error->is_lower_bound);
}

std::string rounding_figures(const StageArbitration& stage) {
  if (stage.sides.subject.local && stage.sides.reference.local) {
    return fmt::format("the subject's own error is {:.3g} times the noise floor, the reference's {:.3g} times",
                       stage.sides.subject.local->multiple(), stage.sides.reference.local->multiple());
  }
  const auto error = [](const compare::AgainstOracle& held) {
    return held.error ? held.error->relative : held.local->error.relative;
  };
  return fmt::format("the relative errors against the oracle are {:.3g} and {:.3g}, where rounding explains {:.3g}",
                     error(stage.sides.subject), error(stage.sides.reference), stage.bound.relative);
}

}  // namespace

Explanation::Explanation(const compare::RunToArbitrate& wrong, const trace::EngineRun& exact,
                         const compare::RoundingNoise& noise, const compare::Arbitration& arbitration,
                         const std::optional<trace::TensorId>& place,
                         const std::optional<trace::TensorId>& known_before)
    : wrong_(wrong),
      exact_(exact),
      noise_(noise),
      arbitration_(arbitration),
      place_(place),
      known_before_(known_before),
      first_(*arbitration.first_wrong.subject.shown()) {}

bool Explanation::is_possible(const OracleEngines::Fault& fault) const {
  const auto is_right = [&](Stage changed) {
    trace::TensorId id = first_;
    id.stage = changed;
    const StageArbitration* stage = arbitration_.find(id);
    const bool has_values = stage != nullptr && is_held_by_values(stage->sides.subject);
    return has_values && !stage->sides.subject.wrong;
  };
  const Stage at = place_ ? place_->stage : first_.stage;
  const bool changes_it = std::find(fault.changes.begin(), fault.changes.end(), at) != fault.changes.end();
  return (changes_it || !place_) && std::none_of(fault.always_changes.begin(), fault.always_changes.end(), is_right);
}

bool Explanation::could_be(const OracleEngines::Fault& fault) {
  const bool possible = is_possible(fault);
  tried_.push_back({{"id", fault.cause}, {"fault", fault.name}, {"is_ruled_out_by_what_is_right", !possible}});
  return possible;
}

bool Explanation::explains_first(const trace::Safetensors::Entry& first_with_fault) const {
  const trace::TraceRecord record = trace::make_record(first_, first_with_fault.shape, first_with_fault.values);
  const compare::AgainstOracle held = compare::hold_tensor(wrong_, exact_, record, first_with_fault.values, noise_);
  return held.is_there() && !held.wrong && is_near_first(record);
}

bool Explanation::is_near_first(const trace::TraceRecord& with_fault) const {
  const auto& local = arbitration_.find(first_)->sides.subject.local;
  if (wrong_.isolation != nullptr || !local) {
    return true;
  }
  const trace::TraceRecord* const record = wrong_.run->find(first_);
  const auto is = record != nullptr ? record->finite_rms() : std::nullopt, should = with_fault.finite_rms();
  return is && should && std::abs(*is - *should) <= compare::kFloorAllowance * local->floor.relative * *should;
}

// The side against the oracle with the fault: stage by stage, or with all that is inherited.
compare::Arbitration Explanation::under(const trace::EngineRun& exact_with_fault) const {
  if (wrong_.isolation == nullptr) {
    return compare::arbitrate({wrong_, {}}, exact_with_fault, noise_);
  }
  const compare::Isolation isolation = wrong_.isolation->under(*wrong_.run, exact_with_fault);
  return compare::arbitrate({{wrong_.run, &isolation}, {}}, exact_with_fault, noise_);
}

void Explanation::try_fault(const OracleEngines::Fault& fault, const trace::EngineRun& exact_with_fault) {
  const compare::Arbitration faulty = under(exact_with_fault);
  Fit fit{.fault = &fault};
  bool explains_first = false;
  for (const StageArbitration& stage : faulty.stages) {
    if (!stage.sides.subject.is_there()) {
      continue;
    }
    const StageArbitration* before = arbitration_.find(stage.id);
    const bool was_wrong = before != nullptr && before->sides.subject.wrong;
    ++fit.n_held;
    fit.n_explained += !stage.sides.subject.wrong;
    fit.n_wrong += was_wrong || stage.sides.subject.wrong;
    fit.n_mended += was_wrong && !stage.sides.subject.wrong;
    if (stage.sides.subject.wrong) {
      fit.left_wrong.push_back(stage.id.name());
    }
    const trace::TraceRecord* const of_first = stage.id == first_ ? exact_with_fault.find(first_) : nullptr;
    if (of_first != nullptr && !stage.sides.subject.wrong && is_near_first(*of_first)) {
      explains_first = true;
      fit.error_at_first =
          stage.sides.subject.local ? stage.sides.subject.local->error.relative : stage.sides.subject.error->relative;
    }
  }
  for (const trace::TraceRecord& record : exact_with_fault.trace) {
    const trace::TraceRecord* const without = exact_.find(record.id);
    if (without != nullptr && without->blake3 != record.blake3) {
      fit.first_changed = fit.first_changed.value_or(record.id);
    }
  }
  if (explains_first && (!best_ || fit.share() > best_->share())) {
    best_ = fit;
  }
}

double Explanation::error_of_first() const {
  const StageArbitration& stage = *arbitration_.find(first_);
  return stage.sides.subject.local ? stage.sides.subject.local->error.relative : stage.sides.subject.error->relative;
}

// What is known of the tensor at fault where nothing explains it: its RMS, and of a product with values the outputs
// that are wrong.
Cause Explanation::unknown() const {
  const trace::TensorId at = place_.value_or(first_);
  Cause cause{"unknown", at.name(), 0, "nothing that was tried explains it", Json::object()};
  cause.parameters["rms"] = rms_json(*wrong_.run, at);
  cause.parameters["expected"] = rms_json(exact_, at);
  if (at != first_) {
    const auto text = [](const Json& rms) {
      return rms.is_number() ? fmt::format("{:.6g}", rms.get<double>()) : "unknown";
    };
    cause.evidence += fmt::format("; it shows in {}, whose RMS is {} instead of {}", first_.name(),
                                  text(rms_json(*wrong_.run, first_)), text(rms_json(exact_, first_)));
  }
  const auto values = values_of(*wrong_.run, exact_, at);
  const StageArbitration* const held = arbitration_.find(at);
  if (!values || held == nullptr || !is_product(at.stage) || values->record->shape.size() != 2) {
    return cause;
  }
  const auto n_features = static_cast<size_t>(values->record->shape[1]);
  const double noise = largest_noise(*held, *values->record->rms);
  std::vector<size_t> wrong = wrong_outputs(values->is, values->should, n_features, noise);
  if (!wrong.empty()) {
    cause.evidence +=
        fmt::format("; {} of its {} outputs are wrong, the first is {}", wrong.size(), n_features, wrong[0]);
  }
  cause.parameters["n_outputs"] = n_features;
  cause.parameters["n_wrong_outputs"] = wrong.size();
  constexpr size_t kListed = 64;
  wrong.resize(std::min(wrong.size(), kListed));
  cause.parameters["wrong_outputs"] = std::move(wrong);  // the first of them
  return cause;
}

// What the first wrong tensor looks like; empty where nothing strikes.
std::string Explanation::seen() const {
  const auto values = values_of(*wrong_.run, exact_, first_);
  if (!values) {
    return {};
  }
  trace::TensorId scores = first_;
  scores.stage = Stage::kAttnScoresSoftmax;
  const trace::TraceRecord* record = exact_.find(scores);
  const bool cut = first_.stage.row().holds_query_heads && record != nullptr && record->shape.size() == 3;
  // Position 0 is turned by nothing, and its token attends to itself alone.
  const bool first_is_right =
      first_.stage.kind() == trace::StageKind::kRope || first_.stage.kind() == trace::StageKind::kScores;
  const size_t n_untold = first_is_right && first_.seq == 0 && first_.ubatch == 0 ? 1 : 0;
  const auto seen = compare::patterns(values->record->shape, values->is, values->should,
                                      largest_noise(*arbitration_.find(first_), *values->record->rms),
                                      cut ? static_cast<size_t>(record->shape[0]) : 1, n_untold);
  return seen.empty() ? std::string() : fmt::format("; in {}, {}", first_.name(), fmt::join(seen, ", and "));
}

Cause Explanation::conclude() const {
  std::string name = place_.value_or(first_).name();
  const bool by_rms = wrong_.isolation == nullptr;
  if (!best_ || (by_rms && best_->share() < kLeastShareByRms)) {
    Cause cause = unknown();
    cause.evidence += seen();
    return cause;
  }
  // An RMS may show late what the fault changes before.
  const auto& changed = best_->first_changed;
  if (by_rms && !place_ && changed && *changed < first_ && !(known_before_ && *changed < *known_before_)) {
    name = best_->first_changed->name();
  }
  std::string evidence = fmt::format(
      "computed{} with the fault {}, the oracle agrees: the relative error of {} falls from {:.3g} to {:.3g}, "
      "and {} of {} tensors are within rounding of it",
      wrong_.isolation != nullptr ? " from the same inputs" : "", best_->fault->name, first_.name(), error_of_first(),
      best_->error_at_first, best_->n_explained, best_->n_held);
  Cause cause{best_->fault->cause, name, (by_rms ? outcome::kMostConfidenceByRms : 1) * best_->share(), evidence};
  cause.unexplained = best_->left_wrong;
  return cause;
}

std::optional<Cause> cause_of_rounding(const trace::EngineRun& subject, const trace::EngineRun& reference,
                                       const compare::Arbitration& arbitration) {
  const StageArbitration* first = nullptr;
  size_t n_differ = 0, n_held = 0;
  for (const StageArbitration& stage : arbitration.stages) {
    const trace::TraceRecord* ours = subject.find(stage.id);
    const trace::TraceRecord* theirs = reference.find(stage.id);
    const bool was_asked = stage.sides.subject.is_there();  // otherwise its inputs were other tokens
    if (ours != nullptr && theirs != nullptr && was_asked && ours->blake3 != theirs->blake3) {
      first = first == nullptr ? &stage : first;
      ++n_differ;
      n_held += is_held_by_values(stage.sides.subject) && is_held_by_values(stage.sides.reference);
    }
  }
  if (first == nullptr || !is_held_by_values(first->sides.subject) || !is_held_by_values(first->sides.reference)) {
    return std::nullopt;
  }
  return Cause{
      "rounding", first->id.name(), static_cast<double>(n_held) / static_cast<double>(n_differ),
      fmt::format("neither side is wrong by more than rounding: at {}, the first tensor whose bits differ, {}; "
                  "{} of the {} that differ could be held against the oracle by their values",
                  first->id.name(), rounding_figures(*first), n_held, n_differ)};
}

Cause cause_of_parting(const compare::Arbitration& arbitration) {
  const compare::Parting& parted = *arbitration.parted;
  const auto json = [](const std::optional<double>& rms) { return rms ? json_number(*rms) : Json(nullptr); };
  return {"unknown",
          parted.id.name(),
          0,
          "its inputs are equal and it is not, so one arithmetic computed two things; what differs is too little for "
          "RMS to show, as of a few changed weights",
          {{"subject_rms", json(parted.rms.subject)},
           {"reference_rms", json(parted.rms.reference)},
           {"expected", json(parted.oracle_rms)}}};
}

}  // namespace tern::arbiter
