#include "tern/compare/arbitration.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "tern/compare/distance.h"

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
  }
  return "?";
}

const StageArbitration* Arbitration::find(const TensorId& id) const {
  const auto it = std::lower_bound(stages.begin(), stages.end(), id,
                                   [](const auto& stage, const auto& wanted) { return stage.id < wanted; });
  return it != stages.end() && it->id == id ? &*it : nullptr;
}

StageArbitration* Arbitration::find(const TensorId& id) {
  return const_cast<StageArbitration*>(std::as_const(*this).find(id));
}

void Arbitration::write_reason(bool has_reference, std::string_view subject_name) {
  reason.clear();
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
  return a && b ? std::min(*a, *b) : a ? a : b;
}

Wrong Arbitration::wrong() const {
  const bool a = first_wrong.subject.first().has_value(), b = first_wrong.reference.first().has_value();
  return a && b ? Wrong::kBoth : a ? Wrong::kSubject : b ? Wrong::kReference : Wrong::kNeither;
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

// Both computed a stage of this kind before, in the same pass, to the same bits.
bool was_equal_before(const EngineRun& a, const EngineRun& b, const TensorId& id) {
  return std::any_of(a.trace.begin(), a.trace.end(), [&](const TraceRecord& record) {
    const bool is_before = record.id.stage.kind() == id.stage.kind() && record.id.seq == id.seq &&
                           record.id.ubatch == id.ubatch && record.id < id;
    const TraceRecord* const other = is_before ? b.find(record.id) : nullptr;
    return other != nullptr && other->blake3 == record.blake3;
  });
}

// Equal but for the order of the sum in double.
bool have_equal_rms(const TraceRecord& a, const TraceRecord& b) {
  constexpr double kSum = 1e-13;
  return a.finite_rms() && b.finite_rms() && std::abs(*a.rms - *b.rms) <= kSum * *b.rms;
}

// Another order of the sum changes an RMS by far more than its last bit. Equal RMS prove nothing where `run` states few
// digits of it.
bool states_all_digits(const EngineRun& run, double rms) { return RmsPrecision(&run).half_unit(rms) < 1e-14 * rms; }

// Where the hashes of a side without values part from those of one that has values and is right there. Both computed
// this tensor from equal inputs.
struct Parted {
  TensorId id;
  const TraceRecord &is, &should;
  const NoiseFloor& floor;  // of the right side
};
std::optional<Parted> parted_from_right(const Sided<RunToArbitrate>& runs, Side side) {
  const RunToArbitrate &own = runs.at(side), &right = runs.at(other(side));
  if (own.run == nullptr || own.isolation != nullptr || right.run == nullptr || right.isolation == nullptr) {
    return std::nullopt;
  }
  const auto id = where_they_part(*own.run, *right.run);
  const LocalError* const of_right = id ? right.isolation->find(*id) : nullptr;
  if (of_right == nullptr || of_right->is_wrong()) {
    return std::nullopt;
  }
  return Parted{*id, *own.run->find(*id), *right.run->find(*id), of_right->floor};
}

// Two right sides that compute a tensor from equal inputs have RMS that differ by the tensor's own rounding alone: no
// more than both may be off by their values.
void judge_where_they_part(const Sided<RunToArbitrate>& runs, Arbitration& arbitration) {
  for (const Side side : kSides) {
    const auto parted = parted_from_right(runs, side);
    StageArbitration* const stage = parted ? arbitration.find(parted->id) : nullptr;
    if (stage == nullptr) {
      continue;
    }
    const auto& [id, is, should, floor] = *parted;
    if (!trace::is_same_or_reversed(is.shape, should.shape) || !is.finite_rms() || !should.finite_rms() ||
        *should.rms == 0) {
      continue;
    }
    const double unstated = RmsPrecision(runs.at(side).run).half_unit(*is.rms) +
                            RmsPrecision(runs.at(other(side)).run).half_unit(*should.rms);
    const double off = std::max(std::abs(*is.rms - *should.rms) - unstated, 0.0) / *should.rms;
    const LocalError own{{off, true, std::nullopt}, {2 * floor.relative, 2 * floor.largest}};
    if (own.is_wrong()) {
      AgainstOracle& held = stage->sides.at(side);
      held.local = own;
      held.wrong = true;
      FirstWrong& first = arbitration.first_wrong.at(side);
      auto& slot = id.seq == 0 ? first.prefill : first.decode;
      slot = slot ? std::min(*slot, id) : id;
    }
  }
}

// A side that is known to be wrong by its RMS began to be so before, if an RMS is off by less, but still by too much.
void place_by_deviation(const Sided<RunToArbitrate>& runs, Arbitration& arbitration) {
  for (const Side side : kSides) {
    const auto shown = arbitration.first_wrong.at(side).first();
    if (!shown || runs.at(side).isolation != nullptr) {
      continue;
    }
    for (const StageArbitration& stage : arbitration.stages) {
      const auto& error = stage.sides.at(side).error;
      const bool is_sampled = stage.bound.rms < stage.bound.relative;
      if (stage.id.seq == shown->seq && stage.id < *shown && error && error->is_lower_bound && is_sampled &&
          error->relative > stage.bound.rms * kRmsAllowanceOfWrong / kRmsAllowance) {
        const double deviations = kRmsAllowance * error->relative / stage.bound.rms;
        arbitration.move_forward(
            side, stage.id,
            fmt::format("its RMS is off by {:.3g}, {:.1f} standard deviations of what rounding does to it",
                        error->relative, deviations));
        break;
      }
    }
  }
}

void place_by_hash(const Sided<RunToArbitrate>& runs, Arbitration& arbitration) {
  for (const Side side : kSides) {
    const auto shown = arbitration.first_wrong.at(side).first();
    const auto parted = shown ? parted_from_right(runs, side) : std::nullopt;
    if (!parted || !(parted->id < *shown) || parted->id.layer != shown->layer || parted->id.seq != shown->seq) {
      continue;
    }
    const EngineRun &run = *runs.at(side).run, &right = *runs.at(other(side)).run;
    const bool is_permuted = have_equal_rms(parted->is, parted->should) && states_all_digits(run, *parted->is.rms);
    if (is_permuted || was_equal_before(run, right, parted->id)) {
      arbitration.move_forward(side, parted->id,
                               is_permuted
                                   ? "all that goes into it is equal by hash to the other side's, and its RMS is "
                                     "the same, but not its hash, as of values with other signs or in another order"
                                   : "all that goes into it is equal by hash to the other side's, "
                                     "and so was a stage of its kind before, but here its hash is not");
    }
  }
}

}  // namespace

Arbitration arbitrate(const Sided<RunToArbitrate>& runs, const EngineRun& oracle, const RoundingNoise& noise,
                      std::string_view subject_name) {
  Arbitration arbitration;
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
                   [](const auto& a, const auto& b) { return a.id < b.id; });
  for (const StageArbitration& stage : arbitration.stages) {
    for (const auto& [side, held] : stage.sides.both()) {
      arbitration.n_held.at(side) += held.is_there();
      if (held.wrong) {
        note_first(arbitration.first_wrong.at(side), stage.id);
      }
    }
  }
  judge_where_they_part(runs, arbitration);
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
