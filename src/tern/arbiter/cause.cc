#include "tern/arbiter/cause.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "tern/compare/pattern.h"

namespace tern::arbiter {
namespace {

using compare::StageArbitration;
using outcome::Cause;
using trace::Stage;

// Outputs of a projection that are wrong for some token.
struct WrongRows {
  size_t n_features = 0, of = 0;
  size_t first = 0;
};

// More of them are no matter of single weights.
constexpr double kMaxWrongRows = 0.05;

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

WrongRows wrong_rows(std::span<const float> is, std::span<const float> should, size_t n_features, double noise) {
  WrongRows rows{.of = n_features};
  for (size_t feature = 0; feature < n_features; ++feature) {
    for (size_t i = feature; i < should.size(); i += n_features) {
      if (!(std::abs(static_cast<double>(is[i]) - static_cast<double>(should[i])) <= noise)) {
        rows.first = rows.n_features++ == 0 ? feature : rows.first;
        break;
      }
    }
  }
  return rows;
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
                         const std::optional<trace::TensorId>& place)
    : wrong_(wrong),
      exact_(exact),
      noise_(noise),
      arbitration_(arbitration),
      place_(place),
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
  if (is_settled() && best_->fault->cause == fault.cause) {
    return false;
  }
  const bool possible = is_possible(fault);
  std::string& list = possible ? tried_ : ruled_out_;
  list += (list.empty() ? "" : ", ") + fault.name;
  return possible;
}

bool Explanation::explains_first(const trace::Safetensors::Entry& first_with_fault) const {
  const trace::TraceRecord record = trace::make_record(first_, first_with_fault.shape, first_with_fault.values);
  const compare::AgainstOracle held = compare::hold_tensor(wrong_, exact_, record, first_with_fault.values, noise_);
  return held.is_there() && !held.wrong;
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
    if (stage.id == first_ && !stage.sides.subject.wrong) {
      explains_first = true;
      fit.error_at_first =
          stage.sides.subject.local ? stage.sides.subject.local->error.relative : stage.sides.subject.error->relative;
    }
  }
  for (const trace::TraceRecord& record : exact_with_fault.trace) {
    const trace::TraceRecord* const without = exact_.find(record.id);
    if (without != nullptr && without->blake3 != record.blake3) {
      fit.first_changed = fit.first_changed ? std::min(*fit.first_changed, record.id) : record.id;
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

std::optional<Cause> Explanation::few_rows() const {
  const auto values = values_of(*wrong_.run, exact_, first_);
  if (!values || !is_product(first_.stage) || values->record->shape.size() != 2) {
    return std::nullopt;
  }
  const double noise = largest_noise(*arbitration_.find(first_), *values->record->rms);
  const WrongRows rows = wrong_rows(values->is, values->should, static_cast<size_t>(values->record->shape[1]), noise);
  if (rows.n_features == 0 || static_cast<double>(rows.n_features) > kMaxWrongRows * static_cast<double>(rows.of)) {
    return std::nullopt;
  }
  return Cause{"weight_value", first_.name(), 1 - static_cast<double>(rows.n_features) / static_cast<double>(rows.of),
               fmt::format("{} of {} outputs of {} differ, the first is {}: rows of its weight; no fault explains it",
                           rows.n_features, rows.of, first_.name(), rows.first)};
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
  const auto seen = compare::patterns(values->record->shape, values->is, values->should,
                                      largest_noise(*arbitration_.find(first_), *values->record->rms),
                                      cut ? static_cast<size_t>(record->shape[0]) : 1);
  return seen.empty() ? std::string() : fmt::format("; in {}, {}", first_.name(), fmt::join(seen, ", and "));
}

Cause Explanation::conclude() const {
  std::string name = place_.value_or(first_).name();
  const std::string others = (tried_.empty() ? "" : "; tried: " + tried_) +
                             (ruled_out_.empty() ? "" : "; ruled out by what is right: " + ruled_out_);
  const bool by_rms = wrong_.isolation == nullptr;
  if (!best_ || (by_rms && best_->share() < kLeastShareByRms)) {
    if (auto cause = few_rows()) {
      cause->evidence += others;
      return *cause;
    }
    return {"unknown", name, 0, "no known fault explains it" + seen() + others};
  }
  // An RMS may show late what the fault changes before.
  if (by_rms && !place_ && best_->first_changed && *best_->first_changed < first_) {
    name = best_->first_changed->name();
  }
  std::string evidence = fmt::format(
      "computed{} with the fault {}, the oracle agrees: the relative error of {} falls from {:.3g} to {:.3g}, and "
      "{} of {} tensors are within rounding of it",
      wrong_.isolation != nullptr ? " from the same inputs" : "", best_->fault->name, first_.name(), error_of_first(),
      best_->error_at_first, best_->n_explained, best_->n_held);
  return {best_->fault->cause, name, best_->share(), evidence + others};
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

}  // namespace tern::arbiter
