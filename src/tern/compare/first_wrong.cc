#include "tern/compare/first_wrong.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tern/compare/distance.h"

namespace tern::compare {
namespace {

using trace::EngineRun;
using trace::TensorId;
using trace::TraceRecord;

// Both computed a stage of this kind before, in the same pass, to the same bits.
bool was_equal_before(const EngineRun& a, const EngineRun& b, const TensorId& id) {
  return std::any_of(a.trace.begin(), a.trace.end(), [&](const TraceRecord& record) {
    const bool is_before = record.id.stage.kind() == id.stage.kind() && record.id.seq == id.seq &&
                           record.id.ubatch == id.ubatch && trace::executed_before(a.trace, record.id, id);
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

// Where the hashes of a side without values part from those of a right one. Both computed this tensor from equal
// inputs.
struct PartedFromRight {
  TensorId id;
  const TraceRecord &is, &should;
  const NoiseFloor* floor;  // of the right side; null where it has no values
};
std::optional<PartedFromRight> parted_from_right(const Sided<RunToArbitrate>& runs, Side side,
                                                 const Arbitration& arbitration) {
  const RunToArbitrate &own = runs.at(side), &right = runs.at(other(side));
  if (own.run == nullptr || own.isolation != nullptr || right.run == nullptr) {
    return std::nullopt;
  }
  const auto id = where_they_part(*own.run, *right.run);
  if (!id) {
    return std::nullopt;
  }
  const LocalError* const of_right = right.isolation != nullptr ? right.isolation->find(*id) : nullptr;
  const bool is_right = right.isolation != nullptr ? of_right != nullptr && !of_right->is_wrong()
                                                   : !arbitration.first_wrong.at(other(side)).first();
  return is_right ? std::optional(PartedFromRight{*id, *own.run->find(*id), *right.run->find(*id),
                                                  of_right != nullptr ? &of_right->floor : nullptr})
                  : std::nullopt;
}

// Of the sides that are wrong at `id` or behind, and whose own values do not show that they are right there, the one
// that is wrong first; of two, the one whose error is larger.
std::optional<Side> wrong_side_from(const TensorId& id, const Arbitration& arbitration) {
  std::optional<Side> found;
  double largest = 0;
  const StageArbitration* const at = arbitration.find(id);
  for (const Side side : kSides) {
    const auto first = arbitration.first_wrong.at(side).first();
    const bool is_right_there = at != nullptr && at->sides.at(side).local && !at->sides.at(side).wrong;
    if (!first || is_right_there || arbitration.order.before(*first, id)) {
      continue;
    }
    const AgainstOracle& held = arbitration.find(*first)->sides.at(side);
    const double error = held.local ? held.local->error.relative : held.error->relative;
    const auto other_first = arbitration.first_wrong.at(other(side)).first();
    if (!found || arbitration.order.before(*first, *other_first) || (*first == *other_first && error > largest)) {
      found = side;
      largest = error;
    }
  }
  return found;
}

}  // namespace

void judge_where_they_part(const Sided<RunToArbitrate>& runs, Arbitration& arbitration) {
  for (const Side side : kSides) {
    const auto parted = parted_from_right(runs, side, arbitration);
    StageArbitration* const stage = parted && parted->floor != nullptr ? arbitration.find(parted->id) : nullptr;
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
    const LocalError own{{off, true, std::nullopt}, {2 * floor->relative, 2 * floor->largest}};
    if (own.is_wrong()) {
      AgainstOracle& held = stage->sides.at(side);
      held.local = own;
      held.wrong = true;
      FirstWrong& first = arbitration.first_wrong.at(side);
      auto& slot = id.seq == 0 ? first.prefill : first.decode;
      slot = slot && arbitration.order.before(*slot, id) ? slot : id;
    }
  }
}

void place_where_hashes_part(const Sided<RunToArbitrate>& runs, const EngineRun& oracle, Arbitration& arbitration) {
  const EngineRun &subject = *runs.subject.run, &reference = *runs.reference.run;
  const auto id = where_they_part(subject, reference, FirstTensor::kCounts);
  if (!id) {
    return;
  }
  const auto rms_in = [&](const EngineRun& run) {
    const TraceRecord* const record = run.find(*id);
    return record != nullptr ? record->finite_rms() : std::nullopt;
  };
  arbitration.parted = Parting{*id, {rms_in(subject), rms_in(reference)}, rms_in(oracle)};
  const StageArbitration* const at = arbitration.find(*id);
  const bool both_are_judged = at != nullptr && at->sides.subject.local && at->sides.reference.local;
  if (both_are_judged) {  // by their values: what differs there may be rounding after all
    return;
  }
  const auto side = wrong_side_from(*id, arbitration);
  if (!side) {
    arbitration.side_is_unknown = !arbitration.someone_is_wrong();
    return;
  }
  FirstWrong& first = arbitration.first_wrong.at(*side);
  if (*first.first() != *id) {
    arbitration.move_forward(*side, *id,
                             "all that goes into it is equal by hash to the other side's, and both follow one "
                             "arithmetic, but its hash is not");
  }
  first.has_equal_inputs = true;
}

void place_by_deviation(const Sided<RunToArbitrate>& runs, Arbitration& arbitration) {
  for (const Side side : kSides) {
    const auto shown = arbitration.first_wrong.at(side).first();
    if (!shown || runs.at(side).isolation != nullptr || arbitration.first_wrong.at(side).has_equal_inputs) {
      continue;
    }
    const auto is_known_right = [&](const TensorId& id) {  // or both sides are wrong there
      return arbitration.parted && !arbitration.order.before(*shown, arbitration.parted->id) &&
             arbitration.order.before(id, arbitration.parted->id);
    };
    for (const StageArbitration& stage : arbitration.stages) {
      const auto& error = stage.sides.at(side).error;
      const bool is_sampled = stage.bound.rms < stage.bound.relative;
      if (stage.id.seq == shown->seq && arbitration.order.before(stage.id, *shown) && !is_known_right(stage.id) &&
          error && error->is_lower_bound && is_sampled &&
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
    const auto parted = shown ? parted_from_right(runs, side, arbitration) : std::nullopt;
    if (!parted || !arbitration.order.before(parted->id, *shown) || parted->id.layer != shown->layer ||
        parted->id.seq != shown->seq) {
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

}  // namespace tern::compare
