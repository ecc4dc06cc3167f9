#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>

#include "tern/base/hash.h"
#include "tern/compare/name_pattern.h"
#include "tern/compare/parts.h"

namespace tern::compare {
namespace {

using trace::TensorId;
using trace::TraceRecord;

using Records = Sided<const TraceRecord*>;  // null on the side that lacks it

// Passes beyond the tokens requested from both sides are not compared.
bool is_wanted(const TraceRecord& record, size_t n_asked) {
  return record.id.seq == 0 || static_cast<size_t>(record.id.seq) < n_asked;
}

bool is_earlier_pass(const TensorId& a, const TensorId& b) {
  return std::tie(a.seq, a.ubatch) < std::tie(b.seq, b.ubatch);
}

// In the subject's order of execution. What only the reference has comes where the reference executed it: before the
// next tensor that both have.
std::vector<Records> align(const trace::EngineRun& subject, const trace::EngineRun& reference, size_t n_asked) {
  std::vector<Records> aligned;
  size_t next = 0;  // of the reference
  const auto add_reference_up_to = [&](size_t end) {
    for (; next < end; ++next) {
      const TraceRecord& theirs = reference.trace[next];
      if (is_wanted(theirs, n_asked) && subject.find(theirs.id) == nullptr) {
        aligned.push_back({.subject = nullptr, .reference = &theirs});
      }
    }
  };
  for (const TraceRecord& ours : subject.trace) {
    if (!is_wanted(ours, n_asked)) {
      continue;
    }
    size_t end = next;
    while (end < reference.trace.size() && is_earlier_pass(reference.trace[end].id, ours.id)) {
      ++end;
    }
    add_reference_up_to(end);
    const TraceRecord* const theirs = reference.find(ours.id);
    if (theirs != nullptr) {
      add_reference_up_to(static_cast<size_t>(theirs - &reference.trace.front()));
    }
    aligned.push_back({.subject = &ours, .reference = theirs});
  }
  add_reference_up_to(reference.trace.size());
  return aligned;
}

bool is_zero(const std::optional<double>& rms) { return rms && *rms == 0; }

const trace::Safetensors::Entry* values_of(const trace::EngineRun& run, const TensorId& id) {
  return run.values ? run.values->find(id.name()) : nullptr;
}

// Values that are not those of the record would make a comparison of something else.
bool contradicts(const trace::Safetensors::Entry* values, const TraceRecord& record) {
  return values != nullptr &&
         (!trace::is_same_or_reversed(values->shape, record.shape) || blake3_hex(values->values) != record.blake3);
}

double bound_of(const Tolerances& tolerances, const TensorId& id, std::optional<double> StageTolerance::*figure,
                double otherwise) {
  double bound = tolerances.measured ? tolerances.measured(id).value_or(otherwise) : otherwise;
  for (const StageTolerance& tolerance : tolerances.by_stage) {
    if (tolerance.*figure && matches(tolerance.pattern, id)) {
      bound = *(tolerance.*figure);
    }
  }
  return bound;
}

// How two finite, non-zero tensors of one shape relate whose hashes differ, where hashes are not all that counts.
bool inside(const TensorComparison& tensor, const Tolerances& tolerances) {
  if (tensor.metrics) {
    return tensor.metrics->relative_error && *tensor.metrics->relative_error <= tolerances.relative_error(tensor.id);
  }
  return std::fabs(*tensor.rms.subject / *tensor.rms.reference - 1) <= tolerances.rms_ratio_deviation(tensor.id);
}

TensorStatus mistrust(TensorComparison& tensor, std::string note) {
  tensor.note = std::move(note);
  return TensorStatus::kMistrusted;
}

// What is known of one side's magnitude.
enum class Magnitude { kFinite, kNotFinite, kUnknown };

TensorStatus judge(TensorComparison& tensor, const Sided<Magnitude>& magnitudes, bool exact,
                   const Tolerances& tolerances) {
  const auto& a = tensor.rms.subject;
  const auto& b = tensor.rms.reference;
  const bool same_shape = tensor.shape.subject == tensor.shape.reference;
  tensor.shape_is_reversed = trace::is_reversed(tensor.shape.subject, tensor.shape.reference);
  if (!same_shape && !tensor.shape_is_reversed) {
    return TensorStatus::kShapeMismatch;
  }
  if (tensor.shape_is_reversed) {
    tensor.note =
        fmt::format("{}the shape reversed: [{}], the reference's [{}]", tensor.hash_equal ? "the same values, " : "",
                    fmt::join(tensor.shape.subject, ", "), fmt::join(tensor.shape.reference, ", "));
  }
  const auto is = [&](Magnitude magnitude) {
    return magnitudes.subject == magnitude && magnitudes.reference == magnitude;
  };
  const bool not_finite = is(Magnitude::kNotFinite);
  if (not_finite || (is_zero(a) && is_zero(b))) {
    const char* const note = not_finite ? "NaN, infinite or empty on both sides" : "all zeros on both sides";
    if (tensor.id.stage.is_known() || !tensor.hash_equal) {
      return mistrust(tensor, note);
    }
    tensor.note = note;  // a mask, the only expert's number: legal in a stage of which nothing is known
    tensor.proves_nothing = true;
    return TensorStatus::kHashEqual;
  }
  const bool is_unknown = magnitudes.subject == Magnitude::kUnknown || magnitudes.reference == Magnitude::kUnknown;
  const bool one_is_unusable = !is_unknown && (!a || !b || is_zero(a) || is_zero(b));
  if (tensor.hash_equal) {
    return one_is_unusable ? mistrust(tensor, "equal hashes, but RMS values that cannot both be true")
                           : TensorStatus::kHashEqual;
  }
  if (exact) {
    return TensorStatus::kDiverged;
  }
  if (is_unknown) {
    return TensorStatus::kNotMeasured;
  }
  return one_is_unusable || !inside(tensor, tolerances) ? TensorStatus::kDiverged : TensorStatus::kWithinTolerance;
}

Magnitude magnitude_of(const TraceRecord& record) {
  return record.is_not_finite() ? Magnitude::kNotFinite : record.rms ? Magnitude::kFinite : Magnitude::kUnknown;
}

// What the records say of the tensor.
void describe(const Records& records, TensorComparison& tensor) {
  for (const auto& [side, record] : records.both()) {
    if (record != nullptr) {
      tensor.shape.at(side) = record->shape;
      tensor.rms.at(side) = record->finite_rms();
    }
  }
}

TensorComparison compare_pair(const trace::EngineRun& subject, const trace::EngineRun& reference,
                              const Records& records, bool exact, const Tolerances& tolerances) {
  TensorComparison tensor;
  tensor.hash_equal = records.subject->blake3 == records.reference->blake3;
  const auto* a = values_of(subject, tensor.id = records.subject->id);
  const auto* b = values_of(reference, tensor.id);
  describe(records, tensor);
  const bool subject_contradicts = contradicts(a, *records.subject);
  if (subject_contradicts || contradicts(b, *records.reference)) {
    const Side side = subject_contradicts ? Side::kSubject : Side::kReference;
    tensor.status =
        mistrust(tensor, "the " + std::string(side_name(side)) + "'s values are not those that its trace has hashed");
    return tensor;
  }
  // Where values are there, the RMS is computed from them rather than taken from the trace.
  Sided<Magnitude> magnitudes = {magnitude_of(*records.subject), magnitude_of(*records.reference)};
  const Sided<const trace::Safetensors::Entry*> both_values = {a, b};
  for (const auto& [side, values] : both_values.both()) {
    if (values != nullptr) {
      tensor.rms.at(side) = trace::rms_of(values->values);
      magnitudes.at(side) = tensor.rms.at(side) ? Magnitude::kFinite : Magnitude::kNotFinite;
    }
  }
  if (a != nullptr && b != nullptr && a->values.size() == b->values.size()) {
    tensor.metrics = measure(a->values, b->values);
  }
  tensor.status = judge(tensor, magnitudes, exact, tolerances);
  return tensor;
}

bool same_layer(const TensorId& a, const TensorId& b) {
  return a.seq == b.seq && a.ubatch == b.ubatch && a.layer == b.layer;
}

// A ReLU can close for every token of a pass. The gate's activation and what is computed from it alone are then zero in
// a run that is right.
// One zero tensor among them while the others are not is still mistrusted: nothing legal produces it.
void recognize_closed_gates(std::vector<TensorComparison>& tensors) {
  for (auto begin = tensors.begin(); begin != tensors.end();) {
    const auto end = std::find_if(begin, tensors.end(), [&](const auto& t) { return !same_layer(t.id, begin->id); });
    bool closed = false;
    for (auto it = begin; it != end; ++it) {
      if (trace::follows_gate(it->id.stage.row())) {
        closed = is_zero(it->rms.subject) && is_zero(it->rms.reference) && it->status == TensorStatus::kMistrusted;
        if (!closed) {
          break;
        }
      }
    }
    for (auto it = begin; closed && it != end; ++it) {
      if (trace::follows_gate(it->id.stage.row())) {
        it->status = TensorStatus::kClosedGate;
      }
    }
    begin = end;
  }
}

// Of the model's graph, in the passes that both runs had the same inputs of, what neither side has.
std::vector<TensorComparison> missing_on_both(const trace::EngineRun& subject, const trace::EngineRun& reference,
                                              const ModelGraph& graph, int last_seq) {
  std::set<std::pair<int, int>> passes;  // seq, ubatch
  for (int seq = 0; seq <= last_seq; ++seq) {
    passes.emplace(seq, 0);
  }
  for (const trace::EngineRun* run : {&subject, &reference}) {
    for (const TraceRecord& record : run->trace) {
      if (record.id.seq <= last_seq) {
        passes.emplace(record.id.seq, record.id.ubatch);
      }
    }
  }
  std::vector<TensorComparison> missing;
  for (const auto& [seq, ubatch] : passes) {
    for (const trace::Stage stage : graph.stages) {
      const bool in_layer = stage.row().place == trace::StagePlace::kInLayer;
      for (int layer = in_layer ? 0 : -1; layer < (in_layer ? graph.n_layers : 0); ++layer) {
        TensorComparison tensor;
        tensor.id = {seq, ubatch, layer, stage};
        tensor.status = TensorStatus::kMissing;
        if (subject.find(tensor.id) == nullptr && reference.find(tensor.id) == nullptr) {
          missing.push_back(std::move(tensor));
        }
      }
    }
  }
  std::sort(missing.begin(), missing.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return missing;
}

}  // namespace

double Tolerances::relative_error(const TensorId& id) const {
  return bound_of(*this, id, &StageTolerance::max_relative_error, max_relative_error);
}

double Tolerances::rms_ratio_deviation(const TensorId& id) const {
  return bound_of(*this, id, &StageTolerance::max_rms_ratio_deviation, max_rms_ratio_deviation);
}

bool is_compared(TensorStatus status) {
  return status == TensorStatus::kHashEqual || status == TensorStatus::kWithinTolerance ||
         status == TensorStatus::kDiverged || status == TensorStatus::kShapeMismatch;
}

bool is_on_one_side(TensorStatus status) {
  return status == TensorStatus::kOnlySubject || status == TensorStatus::kOnlyReference;
}

bool is_missing(const TensorComparison& tensor, bool one_engine) {
  const bool may_be = tensor.may_be_missing || (one_engine && is_on_one_side(tensor.status));
  return !may_be && (is_on_one_side(tensor.status) || tensor.status == TensorStatus::kMissing ||
                     tensor.status == TensorStatus::kNotMeasured);
}

std::vector<TensorComparison> compare_tensors(const trace::EngineRun& subject, const trace::EngineRun& reference,
                                              const TokenComparison& tokens, bool exact,
                                              const CompareOptions& options) {
  const int last_seq = tokens.last_comparable_seq;
  std::vector<TensorComparison> tensors;
  for (const Records& records : align(subject, reference, tokens.n_asked)) {
    const TensorId& id = records.subject != nullptr ? records.subject->id : records.reference->id;
    if (id.seq <= last_seq && records.subject != nullptr && records.reference != nullptr) {
      tensors.push_back(compare_pair(subject, reference, records, exact, options.tolerances));
      continue;
    }
    TensorComparison tensor;
    tensor.id = id;
    describe(records, tensor);
    tensor.status = id.seq > last_seq              ? TensorStatus::kAfterTokenMismatch
                    : records.reference == nullptr ? TensorStatus::kOnlySubject
                                                   : TensorStatus::kOnlyReference;
    tensors.push_back(std::move(tensor));
  }
  recognize_closed_gates(tensors);
  if (!options.cut_short && !subject.trace.empty() && !reference.trace.empty()) {
    auto missing = missing_on_both(subject, reference, options.graph, last_seq);
    tensors.insert(tensors.end(), std::make_move_iterator(missing.begin()), std::make_move_iterator(missing.end()));
  }
  for (TensorComparison& tensor : tensors) {
    tensor.may_be_missing = !is_compared(tensor.status) && matches_any(options.allow_missing, tensor.id);
  }
  return tensors;
}

}  // namespace tern::compare
