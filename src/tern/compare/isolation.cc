#include "tern/compare/isolation.h"

#include <algorithm>
#include <cmath>

#include "tern/base/median.h"
#include "tern/compare/distance.h"

namespace tern::compare {
namespace {

using trace::EngineRun;
using trace::TensorId;
using trace::TraceRecord;

constexpr double kFloatRounding = 0x1p-24;

bool is_finite(const TraceRecord& record) { return record.finite_rms().has_value(); }

// Where even the exact result is zero, so is every right one's, since a product with zero and a closed gate need
// no rounding.
std::optional<OracleError> own_error(std::span<const float> x, std::span<const float> exact) {
  if (const auto error = error_of_values(x, exact)) {
    return error;
  }
  const bool zero = std::all_of(x.begin(), x.end(), [](float value) { return value == 0; });
  return zero ? std::nullopt : std::optional(OracleError{kInfinity, false, kInfinity});
}

// Rounding to float32 alone: of all values, and of the largest one.
NoiseFloor least_floor(std::span<const float> exact, double rms) {
  float largest = 0;
  for (const float value : exact) {
    largest = std::max(largest, std::fabs(value));
  }
  return {kFloatRounding, rms > 0 ? kFloatRounding * static_cast<double>(largest) / rms : 0};
}

void raise(NoiseFloor& floor, double relative, double largest) {
  floor.relative = std::max(floor.relative, relative);
  floor.largest = std::max(floor.largest, largest);
}

std::map<TensorId, NoiseFloor> floors_of(const EngineRun& exact, const std::vector<const EngineRun*>& rounded) {
  const auto rows = first_rows(exact);
  const Values exact_values(exact, rows);
  std::map<TensorId, NoiseFloor> floors;
  std::map<trace::Stage, std::pair<std::vector<double>, std::vector<double>>> by_stage;
  for (const TraceRecord& record : exact.trace) {
    const auto values = exact_values.of(record);
    if (!values || !is_finite(record)) {
      continue;
    }
    NoiseFloor floor = least_floor(*values, *record.rms);
    for (const EngineRun* run : rounded) {
      const auto theirs = Values(*run, rows).of(record);
      if (const auto error = theirs ? error_of_values(*theirs, *values) : std::nullopt) {
        raise(floor, error->relative, error->largest.value_or(0));
      }
    }
    floors[record.id] = floor;
    by_stage[record.id.stage].first.push_back(floor.relative);
    by_stage[record.id.stage].second.push_back(floor.largest);
  }
  std::map<trace::Stage, NoiseFloor> usual;
  for (auto& [stage, figures] : by_stage) {
    usual[stage] = {median(figures.first), median(figures.second)};
  }
  for (auto& [id, floor] : floors) {
    raise(floor, usual[id.stage].relative, usual[id.stage].largest);
  }
  return floors;
}

double ratio(double error, double floor) { return error == 0 ? 0 : error / floor; }

}  // namespace

double LocalError::multiple() const {
  return std::max(ratio(error.relative, floor.relative), ratio(error.largest.value_or(0), floor.largest));
}

Isolation::Isolation(const EngineRun& run, const EngineRun& exact, const std::vector<const EngineRun*>& rounded) {
  hold(run, exact, floors_of(exact, rounded));
}

Isolation Isolation::under(const EngineRun& run, const EngineRun& exact) const {
  std::map<TensorId, NoiseFloor> floors;
  for (const auto& [id, local] : errors_) {
    floors[id] = local.floor;
  }
  Isolation isolation;
  isolation.hold(run, exact, floors);
  return isolation;
}

std::optional<LocalError> Isolation::under(const EngineRun& run, const EngineRun& exact, const TraceRecord& record,
                                           std::span<const float> should) const {
  const LocalError* known = find(record.id);
  const auto rows = first_rows(exact);
  const auto is = Values(run, rows).of(record);
  const auto error = known != nullptr && is && is_finite(record) ? own_error(*is, should) : std::nullopt;
  return error ? std::optional(LocalError{*error, known->floor}) : std::nullopt;
}

void Isolation::hold(const EngineRun& run, const EngineRun& exact, const std::map<TensorId, NoiseFloor>& floors) {
  const auto rows = first_rows(exact);
  const Values exact_values(exact, rows), own_values(run, rows);
  for (const TraceRecord& record : exact.trace) {
    const auto floor = floors.find(record.id);
    const auto should = exact_values.of(record), is = own_values.of(record);
    if (floor == floors.end() || !should || !is || !is_finite(record)) {
      continue;
    }
    if (const auto error = own_error(*is, *should)) {
      errors_[record.id] = {*error, floor->second};
    }
  }
}

const LocalError* Isolation::find(const TensorId& id) const {
  const auto found = errors_.find(id);
  return found == errors_.end() ? nullptr : &found->second;
}

}  // namespace tern::compare
