#include "tern/compare/arbitration.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "tern/compare/distance.h"
#include "tern/compare/first_wrong.h"

namespace tern::compare {
namespace {

using trace::EngineRun;
using trace::TensorId;
using trace::TraceRecord;

double most_of(const OracleError& error, const RoundingBound& bound) {
  return error.is_lower_bound ? bound.rms : bound.relative;
}

bool is_wrong(const std::optional<OracleError>& error, const RoundingBound& bound) {
  return error && (error->relative > most_of(*error, bound) || (error->largest && *error->largest > bound.largest));
}

std::optional<OracleError> error_of_rms(const RmsPrecision& precision, const TraceRecord* record,
                                        const TraceRecord& oracle_record) {
  if (record == nullptr || !trace::is_same_or_reversed(record->shape, oracle_record.shape)) {
    return std::nullopt;
  }
  const auto rms = record->finite_rms(), should = oracle_record.finite_rms();
  if (record->is_not_finite()) {
    return OracleError{kInfinity, true, std::nullopt};
  }
  if (!rms || !should || *should == 0) {
    return std::nullopt;
  }
  return OracleError{std::max(std::fabs(*rms - *should) - precision.half_unit(*rms), 0.0) / *should, true,
                     std::nullopt};
}

// `record`: what the side traced under the oracle tensor's name, null where nothing.
std::optional<OracleError> error_of(const Values& values, const RmsPrecision& precision, const TraceRecord* record,
                                    const TraceRecord& oracle_record, std::span<const float> oracle,
                                    const RoundingBound& bound) {
  if (const auto own = values.of(oracle_record)) {
    const auto error = error_of_values(*own, oracle);
    const auto of_rms = error_of_rms(precision, record, oracle_record);
    return error && !is_wrong(error, bound) && is_wrong(of_rms, bound) ? of_rms : error;
  }
  return error_of_rms(precision, record, oracle_record);
}

void note_first(FirstWrong& first, const TensorId& id) {
  auto& slot = id.seq == 0 ? first.prefill : first.decode;
  if (!slot) {
    slot = id;
  }
}

std::string own_figures(const LocalError& local) {
  if (!std::isfinite(local.error.relative)) {
    return "its inputs are sound, and it is not finite, or not zero where it must be";
  }
  return fmt::format(
      "what its own inputs should give differs from it by a relative error of {:.3g}, {:.3g} times the noise floor",
      local.error.relative, local.multiple());
}

std::string figures(const OracleError& error, const RoundingBound& bound) {
  if (!std::isfinite(error.relative)) {
    return "it is not finite";
  }
  if (error.relative > most_of(error, bound)) {
    return fmt::format("its relative error against the oracle is {}{:.3g}, rounding explains {:.3g}",
                       error.is_lower_bound ? "at least " : "", error.relative, most_of(error, bound));
  }
  return fmt::format("one value is {:.3g} times the tensor's RMS away from the oracle's, rounding explains {:.3g}",
                     error.largest.value_or(0), bound.largest);
}

std::string wrong_side(const Arbitration& arbitration, Side side, std::string_view name) {
  const FirstWrong& first = arbitration.first_wrong.at(side);
  std::string out = fmt::format("the {} is wrong", name);
  std::string separator = " from ";
  for (const auto& id : {first.prefill, first.decode}) {
    if (id) {
      out += fmt::format("{}{} on ({})", separator, id->name(), place_of(*id));
      separator = ", and from ";
    }
  }
  const StageArbitration* stage = arbitration.find(*first.shown());
  if (stage == nullptr) {
    return out;
  }
  const AgainstOracle& held = stage->sides.at(side);
  const std::string shows =
      first.shown_at ? fmt::format("{}; it shows at {}: ", first.why, first.shown_at->name()) : "";
  return out + ": " + shows + (held.local ? own_figures(*held.local) : figures(*held.error, stage->bound));
}

// The verdict on sides of which something was held; a side of which nothing was is neither right nor wrong.
std::string within_rounding(const Arbitration& arbitration, bool has_reference, std::string_view subject_name) {
  Sided<double> largest;
  for (const StageArbitration& stage : arbitration.stages) {
    for (const auto& [side, held] : stage.sides.both()) {
      largest.at(side) = std::max(largest.at(side), held.error ? held.error->relative : 0);
    }
  }
  const Sided<size_t>& n_held = arbitration.n_held;
  const size_t n_all = arbitration.stages.size();
  if (n_held.subject > 0 && n_held.reference > 0) {
    return fmt::format(
        "both sides are within rounding of the oracle ({} and {} of {} tensors; "
        "largest relative errors {:.3g} and {:.3g})",
        n_held.subject, n_held.reference, n_all, largest.subject, largest.reference);
  }
  const Side held = n_held.subject > 0 ? Side::kSubject : Side::kReference;
  const auto name_of = [&](Side side) { return side == Side::kSubject ? subject_name : side_name(side); };
  const std::string of_other =
      has_reference ? fmt::format("; nothing of the {} could be held against it", name_of(other(held))) : "";
  return fmt::format("the {} is within rounding of the oracle ({} of {} tensors; largest relative error {:.3g}){}",
                     name_of(held), n_held.at(held), n_all, largest.at(held), of_other);
}

std::string stated_rms(const std::optional<double>& rms) { return rms ? fmt::format("{:.6g}", *rms) : "not stated"; }

// Equal inputs and another output: what is known of either side there.
std::string one_of_two(const Arbitration& arbitration) {
  const Parting& parted = *arbitration.parted;
  const StageArbitration* const stage = arbitration.find(parted.id);
  std::string out = fmt::format(
      "all that is executed before {} ({}) is equal by hash, and it is not: one of the two sides is wrong there, and "
      "which one is not known: ",
      parted.id.name(), place_of(parted.id));
  for (const auto& [side, rms] : parted.rms.both()) {
    const bool shows_none = stage != nullptr && stage->sides.at(side).local;
    out += shows_none ? fmt::format("the {}'s values show no error of its own, and ", side_name(side)) : "";
  }
  return out + fmt::format("RMS alone does not tell (subject {}, reference {}, oracle {})",
                           stated_rms(parted.rms.subject), stated_rms(parted.rms.reference),
                           stated_rms(parted.oracle_rms));
}

}  // namespace

std::string_view wrong_name(Wrong wrong) {
  switch (wrong) {
    case Wrong::kNeither:
      return "neither";
    case Wrong::kSubject:
      return side_name(Side::kSubject);
    case Wrong::kReference:
      return side_name(Side::kReference);
    case Wrong::kBoth:
      return "both";
    case Wrong::kUnknown:
      return "not known";
  }
  return "?";
}

const StageArbitration* Arbitration::find(const TensorId& id) const {
  if (!order.knows(id)) {
    return nullptr;
  }
  const auto it = std::lower_bound(stages.begin(), stages.end(), id, [this](const auto& stage, const auto& wanted) {
    return order.before(stage.id, wanted);
  });
  return it != stages.end() && it->id == id ? &*it : nullptr;
}

StageArbitration* Arbitration::find(const TensorId& id) {
  return const_cast<StageArbitration*>(std::as_const(*this).find(id));
}

void Arbitration::write_reason(bool has_reference, std::string_view subject_name) {
  reason = side_is_unknown && !someone_is_wrong() ? one_of_two(*this) : "";
  for (const auto& [side, first] : first_wrong.both()) {
    if (first.first()) {
      reason += (reason.empty() ? "" : "; ") +
                wrong_side(*this, side, side == Side::kSubject ? subject_name : side_name(side));
    }
  }
  if (reason.empty()) {
    reason = n_held == Sided<size_t>{} ? "nothing could be held against the oracle"
                                       : within_rounding(*this, has_reference, subject_name);
  }
}

void Arbitration::move_forward(Side side, const TensorId& id, std::string why) {
  FirstWrong& first = first_wrong.at(side);
  first.shown_at = first.shown();
  first.why = std::move(why);
  (id.seq == 0 ? first.prefill : first.decode) = id;
  if (StageArbitration* const stage = find(id)) {
    stage->sides.at(side).wrong = true;
  }
}

std::optional<TensorId> Arbitration::first_wrong_tensor() const {
  const auto a = first_wrong.subject.first(), b = first_wrong.reference.first();
  return a && b ? (order.before(*b, *a) ? b : a) : a ? a : b;
}

Wrong Arbitration::wrong() const {
  const bool a = first_wrong.subject.first().has_value(), b = first_wrong.reference.first().has_value();
  return a && b ? Wrong::kBoth
         : a    ? Wrong::kSubject
         : b    ? Wrong::kReference
                : (side_is_unknown ? Wrong::kUnknown : Wrong::kNeither);
}

void use_noise(const RoundingNoise& noise, CompareOptions& options) {
  options.logits_noise = noise.logits();
  options.tolerances.measured = [noise](const TensorId& id) {
    const auto bound = noise.bound(id);
    return bound ? std::optional(2 * bound->relative) : std::nullopt;  // each side may be off by as much
  };
}

namespace {

class HeldSide {
 public:
  HeldSide(const RunToArbitrate& side, const EngineRun& oracle, const std::map<TensorId, size_t>& rows)
      : side_(side), rows_(rows), precision_(side.run) {
    last_ = side.run != nullptr ? last_pass_with_equal_inputs(side.run->result, oracle.result) : -1;
  }

  AgainstOracle hold(const TraceRecord& record, std::span<const float> oracle, const RoundingBound& bound) const {
    AgainstOracle held = hold_own(record.id);
    if (record.id.seq <= last_) {
      held.error = error_of(Values(*side_.run, rows_), precision_, side_.run->find(record.id), record, oracle, bound);
      held.wrong = held.local ? held.wrong : is_wrong(held.error, bound);
    }
    return held;
  }
  // Holds the tensor by its own error alone.
  AgainstOracle hold_own(const TensorId& id) const {
    AgainstOracle held;
    const LocalError* local = side_.isolation != nullptr && id.seq <= last_ ? side_.isolation->find(id) : nullptr;
    if (local != nullptr) {
      held.local = *local;
      held.wrong = local->is_wrong();
    }
    return held;
  }
  // Adds tensors that the oracle does not have, since it took the prompt in other pieces.
  void add_others(const EngineRun& oracle, std::set<TensorId>& ids) const {
    if (side_.isolation != nullptr) {
      for (const auto& [id, local] : side_.isolation->errors()) {
        if (id.seq <= last_ && oracle.find(id) == nullptr) {
          ids.insert(id);
        }
      }
    }
  }

 private:
  const RunToArbitrate& side_;
  const std::map<TensorId, size_t>& rows_;
  RmsPrecision precision_;
  int last_ = -1;
};

}  // namespace

Arbitration arbitrate(const Sided<RunToArbitrate>& runs, const EngineRun& oracle, const RoundingNoise& noise,
                      std::string_view subject_name, bool equal_hashes) {
  const auto records_of = [](const RunToArbitrate& side) { return side.run != nullptr ? &side.run->trace : nullptr; };
  Arbitration arbitration;
  arbitration.order = ExecutionOrder({records_of(runs.subject), records_of(runs.reference), &oracle.trace});
  const auto rows = first_rows(oracle);
  const Values oracle_values(oracle, rows);
  const HeldSide subject(runs.subject, oracle, rows), reference(runs.reference, oracle, rows);
  for (const TraceRecord& record : oracle.trace) {
    const auto values = oracle_values.of(record);
    const auto bound = noise.bound(record.id);
    if (values && bound) {
      arbitration.stages.push_back(
          {.id = record.id,
           .sides = {subject.hold(record, *values, *bound), reference.hold(record, *values, *bound)},
           .bound = *bound});
    }
  }
  std::set<TensorId> others;
  subject.add_others(oracle, others);
  reference.add_others(oracle, others);
  for (const TensorId& id : others) {
    arbitration.stages.push_back({.id = id, .sides = {subject.hold_own(id), reference.hold_own(id)}, .bound = {}});
  }
  std::stable_sort(arbitration.stages.begin(), arbitration.stages.end(),
                   [&](const auto& a, const auto& b) { return arbitration.order.before(a.id, b.id); });
  for (const StageArbitration& stage : arbitration.stages) {
    for (const auto& [side, held] : stage.sides.both()) {
      arbitration.n_held.at(side) += held.is_there();
      if (held.wrong) {
        note_first(arbitration.first_wrong.at(side), stage.id);
      }
    }
  }
  judge_where_they_part(runs, arbitration);
  if (equal_hashes && runs.subject.run != nullptr && runs.reference.run != nullptr) {
    place_where_hashes_part(runs, oracle, arbitration);
  }
  place_by_deviation(runs, arbitration);
  place_by_hash(runs, arbitration);
  arbitration.write_reason(runs.reference.run != nullptr, subject_name);
  return arbitration;
}

AgainstOracle hold_tensor(const RunToArbitrate& side, const EngineRun& exact, const TraceRecord& record,
                          std::span<const float> should, const RoundingNoise& noise) {
  AgainstOracle held;
  const auto bound = noise.bound(record.id);
  if (!bound || record.id.seq > last_pass_with_equal_inputs(side.run->result, exact.result)) {
    return held;
  }
  const auto rows = first_rows(exact);
  held.error =
      error_of(Values(*side.run, rows), RmsPrecision(side.run), side.run->find(record.id), record, should, *bound);
  if (side.isolation != nullptr) {
    held.local = side.isolation->under(*side.run, exact, record, should);
  }
  held.wrong = held.local ? held.local->is_wrong() : is_wrong(held.error, *bound);
  return held;
}

void hold_on_same_inputs(const EngineRun& taker, const EngineRun& giver, const Isolation& of_giver, Side inputs_of,
                         Arbitration& arbitration) {
  const Isolation apart = of_giver.under(taker, giver);
  for (StageArbitration& stage : arbitration.stages) {
    if (const LocalError* local = apart.find(stage.id)) {
      stage.on_same_inputs = *local;
    }
  }
  arbitration.inputs_of = inputs_of;
}

}  // namespace tern::compare
