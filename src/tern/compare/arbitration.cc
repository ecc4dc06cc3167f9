#include "tern/compare/arbitration.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace tern::compare {
namespace {

using trace::EngineRun;
using trace::TensorId;
using trace::TraceRecord;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Which rows of the logits file each pass has. Only the oracle's records tell how the prompt was cut into ubatches.
std::map<TensorId, size_t> first_rows(const EngineRun& oracle) {
  std::map<TensorId, size_t> rows;
  size_t next = 0;
  for (const TraceRecord& record : oracle.trace) {
    if (record.id.stage == trace::Stage::kLogits && !record.shape.empty()) {
      rows[record.id] = next;
      next += static_cast<size_t>(record.shape[0]);
    }
  }
  return rows;
}

// One side's values of a tensor: traced ones, or for the logits those of logits.safetensors.
class Values {
 public:
  Values(const EngineRun& run, const std::map<TensorId, size_t>& logits_rows) : run_(run), rows_(logits_rows) {}

  std::optional<std::span<const float>> of(const TraceRecord& wanted) const {
    if (const auto* entry = run_.values ? run_.values->find(wanted.id.name()) : nullptr;
        entry != nullptr && entry->shape == wanted.shape) {
      return entry->values;
    }
    const auto* logits = run_.logits();
    const auto row = rows_.find(wanted.id);
    if (logits == nullptr || row == rows_.end() || wanted.shape.size() != 2 || logits->shape[1] != wanted.shape[1]) {
      return std::nullopt;
    }
    const auto vocab = static_cast<size_t>(wanted.shape[1]);
    const auto n_rows = static_cast<size_t>(wanted.shape[0]);
    if ((row->second + n_rows) * vocab > logits->values.size()) {
      return std::nullopt;
    }
    return logits->values.subspan(row->second * vocab, n_rows * vocab);
  }

 private:
  const EngineRun& run_;
  const std::map<TensorId, size_t>& rows_;
};

std::optional<OracleError> error_of_values(std::span<const float> x, std::span<const float> oracle) {
  const Metrics metrics = measure(x, oracle);
  if (metrics.n_non_finite > 0) {
    return OracleError{kInfinity, false, kInfinity};
  }
  if (!metrics.relative_error) {
    return std::nullopt;  // the oracle's are all zeros: nothing to hold a ratio against
  }
  const double norm = metrics.rms_error > 0 ? metrics.rms_error / *metrics.relative_error : 0;
  return OracleError{*metrics.relative_error, false, norm > 0 ? metrics.max_abs / norm : 0};
}

// `record`: what the side traced under the oracle tensor's name, null where nothing.
std::optional<OracleError> error_of(const Values& values, const TraceRecord* record, const TraceRecord& oracle_record,
                                    std::span<const float> oracle) {
  if (const auto own = values.of(oracle_record)) {
    return error_of_values(*own, oracle);
  }
  if (record == nullptr || record->shape != oracle_record.shape) {
    return std::nullopt;
  }
  const auto rms = record->finite_rms();
  if (!rms) {
    return OracleError{kInfinity, true, std::nullopt};
  }
  if (!oracle_record.rms || *oracle_record.rms == 0) {
    return std::nullopt;
  }
  return OracleError{std::fabs(*rms - *oracle_record.rms) / *oracle_record.rms, true, std::nullopt};
}

bool is_wrong(const std::optional<OracleError>& error, const OracleError& bound) {
  return error && (error->relative > bound.relative || (error->largest && *error->largest > *bound.largest));
}

void note_first(FirstWrong& first, const TensorId& id) {
  auto& slot = id.seq == 0 ? first.prefill : first.decode;
  if (!slot) {
    slot = id;
  }
}

std::vector<double> row_noise(const EngineRun& oracle, const EngineRun& rounded) {
  std::vector<double> noise;
  const auto* a = rounded.logits();
  const auto* b = oracle.logits();
  if (a == nullptr || b == nullptr || a->shape != b->shape || b->shape.size() != 2) {
    return noise;
  }
  const auto vocab = static_cast<size_t>(b->shape[1]);
  const int last = last_pass_with_equal_inputs(oracle.result, rounded.result);
  const size_t n_rows = std::min(static_cast<size_t>(b->shape[0]),
                                 oracle.result.prompt_tokens.size() + static_cast<size_t>(std::max(last, 0)));
  for (size_t row = 0; row < n_rows; ++row) {
    noise.push_back(measure(a->values.subspan(row * vocab, vocab), b->values.subspan(row * vocab, vocab)).rms_error);
  }
  return noise;
}

std::string figures(const OracleError& error, const OracleError& bound) {
  if (!std::isfinite(error.relative)) {
    return "it is not finite";
  }
  if (error.relative > bound.relative) {
    return fmt::format("its relative error against the oracle is {}{:.3g}, rounding explains {:.3g}",
                       error.is_lower_bound ? "at least " : "", error.relative, bound.relative);
  }
  return fmt::format("one value is {:.3g} times the tensor's RMS away from the oracle's, rounding explains {:.3g}",
                     error.largest.value_or(0), bound.largest.value_or(0));
}

std::string wrong_side(const Arbitration& arbitration, std::string_view side, const FirstWrong& first,
                       std::optional<OracleError> StageArbitration::*error) {
  std::string out = fmt::format("the {} is wrong", side);
  std::string separator = " from ";
  for (const auto& id : {first.prefill, first.decode}) {
    if (id) {
      out += fmt::format("{}{} on ({})", separator, id->name(), place_of(*id));
      separator = ", and from ";
    }
  }
  const StageArbitration* stage = arbitration.find(*first.first());
  return stage == nullptr ? out : out + ": " + figures(*(stage->*error), stage->bound);
}

std::string within_rounding(const Arbitration& arbitration, bool has_reference, std::string_view subject_name) {
  double subject = 0, reference = 0;
  for (const StageArbitration& stage : arbitration.stages) {
    subject = std::max(subject, stage.subject ? stage.subject->relative : 0);
    reference = std::max(reference, stage.reference ? stage.reference->relative : 0);
  }
  return has_reference
             ? fmt::format(
                   "both sides are within rounding of the oracle ({} and {} of {} tensors; largest relative "
                   "errors {:.3g} and {:.3g})",
                   arbitration.n_subject, arbitration.n_reference, arbitration.stages.size(), subject, reference)
             : fmt::format(
                   "the {} is within rounding of the oracle ({} of {} tensors; largest "
                   "relative error {:.3g})",
                   subject_name, arbitration.n_subject, arbitration.stages.size(), subject);
}

std::string reason_of(const Arbitration& arbitration, bool has_reference, std::string_view subject_name) {
  std::string out;
  if (arbitration.subject.first()) {
    out = wrong_side(arbitration, subject_name, arbitration.subject, &StageArbitration::subject);
  }
  if (arbitration.reference.first()) {
    out += (out.empty() ? "" : "; ") +
           wrong_side(arbitration, "reference", arbitration.reference, &StageArbitration::reference);
  }
  if (!out.empty()) {
    return out;
  }
  if (arbitration.n_subject == 0 && arbitration.n_reference == 0) {
    return "nothing could be held against the oracle";
  }
  return within_rounding(arbitration, has_reference, subject_name);
}

}  // namespace

std::string_view wrong_name(Wrong wrong) {
  switch (wrong) {
    case Wrong::kNeither:
      return "neither";
    case Wrong::kSubject:
      return "subject";
    case Wrong::kReference:
      return "reference";
    case Wrong::kBoth:
      return "both";
  }
  return "?";
}

const StageArbitration* Arbitration::find(const TensorId& id) const {
  const auto it = std::find_if(stages.begin(), stages.end(), [&](const auto& stage) { return stage.id == id; });
  return it == stages.end() ? nullptr : &*it;
}

Wrong Arbitration::wrong() const {
  const bool a = subject.first().has_value(), b = reference.first().has_value();
  return a && b ? Wrong::kBoth : a ? Wrong::kSubject : b ? Wrong::kReference : Wrong::kNeither;
}

RoundingNoise::RoundingNoise(const EngineRun& oracle, const EngineRun& rounded) : logits_(row_noise(oracle, rounded)) {
  const auto rows = first_rows(oracle);
  const Values oracle_values(oracle, rows), rounded_values(rounded, rows);
  const int last = last_pass_with_equal_inputs(rounded.result, oracle.result);
  for (const TraceRecord& record : oracle.trace) {
    const auto values = oracle_values.of(record);
    if (!values || record.id.seq > last) {
      continue;
    }
    if (const auto error = error_of(rounded_values, rounded.find(record.id), record, *values)) {
      OracleError& known = by_stage_[record.id.stage][record.id.layer];
      known.relative = std::max(known.relative, error->relative);
      known.largest = std::max(known.largest.value_or(0), error->largest.value_or(0));
    }
  }
}

std::optional<OracleError> RoundingNoise::bound(const TensorId& id) const {
  const auto layers = by_stage_.find(id.stage);
  if (layers == by_stage_.end()) {
    return std::nullopt;
  }
  OracleError bound{0, false, 0};
  for (const auto& [layer, error] : layers->second) {
    if (layer <= id.layer) {
      bound.relative = std::max(bound.relative, kRoundingAllowance * error.relative);
      bound.largest = std::max(*bound.largest, kRoundingAllowance * error.largest.value_or(0));
    }
  }
  return bound;
}

Arbitration arbitrate(const EngineRun& subject, const EngineRun* reference, const EngineRun& oracle,
                      const RoundingNoise& noise, std::string_view subject_name) {
  Arbitration arbitration;
  const auto rows = first_rows(oracle);
  const Values oracle_values(oracle, rows), subject_values(subject, rows);
  const int subject_last = last_pass_with_equal_inputs(subject.result, oracle.result);
  const int reference_last = reference != nullptr ? last_pass_with_equal_inputs(reference->result, oracle.result) : -1;
  for (const TraceRecord& record : oracle.trace) {
    const auto values = oracle_values.of(record);
    const auto bound = noise.bound(record.id);
    if (!values || !bound) {
      continue;
    }
    StageArbitration stage{.id = record.id, .subject = {}, .reference = {}, .bound = *bound};
    if (record.id.seq <= subject_last) {
      stage.subject = error_of(subject_values, subject.find(record.id), record, *values);
    }
    if (reference != nullptr && record.id.seq <= reference_last) {
      stage.reference = error_of(Values(*reference, rows), reference->find(record.id), record, *values);
    }
    arbitration.n_subject += stage.subject.has_value();
    arbitration.n_reference += stage.reference.has_value();
    if ((stage.subject_wrong = is_wrong(stage.subject, *bound))) {
      note_first(arbitration.subject, record.id);
    }
    if ((stage.reference_wrong = is_wrong(stage.reference, *bound))) {
      note_first(arbitration.reference, record.id);
    }
    arbitration.stages.push_back(std::move(stage));
  }
  arbitration.reason = reason_of(arbitration, reference != nullptr, subject_name);
  return arbitration;
}

}  // namespace tern::compare
