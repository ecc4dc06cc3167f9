#include "tern/compare/compare_runs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "tern/compare/parts.h"

namespace tern::compare {
namespace {

// The level that was asked for, else the lowest that a side states. `reason` says which.
trace::Level level_of(const trace::EngineRun& subject, const trace::EngineRun& reference,
                      const std::optional<trace::Level>& asked, std::string& reason) {
  trace::Level level = asked.value_or(trace::Level::kTensors);
  reason = asked ? "asked for" : "the default";
  const Sided<const trace::EngineRun*> runs = {&subject, &reference};
  for (const auto& [side, run] : runs.both()) {
    if (!asked && run->result.level.value_or(level) < level) {
      level = *run->result.level;
      reason = fmt::format("the {} states no more", side_name(side));
    }
  }
  return level;
}

bool are_settings_of_one_engine(const trace::RunResult& a, const trace::RunResult& b) {
  return !a.engine.empty() && a.engine == b.engine && !a.settings.is_null() && !b.settings.is_null() &&
         a.settings != b.settings;
}

Coverage coverage_of(const trace::EngineRun& subject, const trace::EngineRun& reference, const RunComparison& c) {
  Coverage coverage;
  coverage.tensors_compared = static_cast<size_t>(
      std::count_if(c.tensors.begin(), c.tensors.end(), [](const auto& tensor) { return is_compared(tensor.status); }));
  std::set<trace::Stage> expected, compared;
  for (const TensorComparison& tensor : c.tensors) {
    if (c.one_engine && is_on_one_side(tensor.status)) {
      ++coverage.tensors_of_one_graph;
      continue;
    }
    if (tensor.may_be_missing) {
      ++coverage.tensors_allowed_missing;
      continue;
    }
    coverage.tensors_missing += is_missing(tensor, c.one_engine);
    ++coverage.tensors_expected;
    expected.insert(tensor.id.stage);
    if (is_compared(tensor.status)) {
      compared.insert(tensor.id.stage);
    }
  }
  coverage.stages_expected = expected.size();
  coverage.stages_compared = compared.size();
  coverage.tokens_compared = c.tokens.n_compared;
  coverage.tokens_expected = c.tokens.n_expected();
  const size_t n_prompt = std::max(subject.result.prompt_tokens.size(), reference.result.prompt_tokens.size());
  const size_t n_decode = coverage.tokens_expected > 0 ? coverage.tokens_expected - 1 : 0;
  coverage.positions_expected = n_prompt + n_decode;
  coverage.positions_compared = c.logits ? c.logits->positions.size() : 0;
  return coverage;
}

}  // namespace

bool demand_equal_hashes(const trace::EngineRun& subject, const trace::EngineRun& reference, Exactness exactness,
                         std::string& reason) {
  const std::string& a = subject.result.arithmetic;
  const std::string& b = reference.result.arithmetic;
  if (exactness != Exactness::kAuto) {
    reason = "asked for";
    return exactness == Exactness::kExact;
  }
  if (a.empty() || b.empty()) {
    const Side silent = a.empty() ? Side::kSubject : Side::kReference;
    reason = "the " + std::string(side_name(silent)) + " does not name its arithmetic";
    return false;
  }
  reason = a == b ? "both name the arithmetic " + a : "the subject's arithmetic is " + a + ", the reference's " + b;
  return a == b;
}

std::string_view verdict_name(VerdictKind kind) {
  switch (kind) {
    case VerdictKind::kMatch:
      return "match";
    case VerdictKind::kWithinTolerance:
      return "within_tolerance";
    case VerdictKind::kDiverged:
      return "diverged";
    case VerdictKind::kMistrusted:
      return "mistrusted";
  }
  return "?";
}

std::string_view tensor_status_name(TensorStatus status) {
  switch (status) {
    case TensorStatus::kHashEqual:
      return "equal";
    case TensorStatus::kWithinTolerance:
      return "within_tolerance";
    case TensorStatus::kDiverged:
      return "diverged";
    case TensorStatus::kShapeMismatch:
      return "shape_mismatch";
    case TensorStatus::kMistrusted:
      return "mistrusted";
    case TensorStatus::kClosedGate:
      return "closed_gate";
    case TensorStatus::kOnlySubject:
      return "only_subject";
    case TensorStatus::kOnlyReference:
      return "only_reference";
    case TensorStatus::kMissing:
      return "missing";
    case TensorStatus::kNotMeasured:
      return "not_measured";
    case TensorStatus::kAfterTokenMismatch:
      return "after_token_mismatch";
  }
  return "?";
}

namespace {

// "the subject has not traced 34 tensors, the first is blk1/attn_norm; ..."
std::string missing_clause(const RunComparison& c) {
  struct Group {
    TensorStatus status;
    const char* who;
    const char* lacks;
  };
  constexpr Group kGroups[] = {
      {TensorStatus::kOnlyReference, "the subject", "not traced"},
      {TensorStatus::kOnlySubject, "the reference", "not traced"},
      {TensorStatus::kMissing, "neither side", "traced"},
      {TensorStatus::kNotMeasured, "a side", "recorded neither RMS nor values of"},
  };
  std::string out;
  for (const Group& group : kGroups) {
    const auto is_in_group = [&](const TensorComparison& tensor) {
      return tensor.status == group.status && is_missing(tensor, c.one_engine);
    };
    const auto first = std::find_if(c.tensors.begin(), c.tensors.end(), is_in_group);
    if (first != c.tensors.end()) {
      const auto n = std::count_if(c.tensors.begin(), c.tensors.end(), is_in_group);
      out += fmt::format("{}{} has {} {} {}, the first is {}", out.empty() ? "" : "; ", group.who, group.lacks, n,
                         n == 1 ? "tensor" : "tensors", first->id.name());
    }
  }
  return out;
}

std::vector<std::string> notes_of(const trace::EngineRun& subject, const trace::EngineRun& reference,
                                  const RunComparison& c) {
  std::vector<std::string> notes;
  const Sided<const trace::EngineRun*> runs = {&subject, &reference};
  for (const auto& [side, run] : runs.both()) {
    for (const std::string& note : run->notes) {
      notes.push_back(fmt::format("the {}: {}", side_name(side), note));
    }
  }
  const auto is_reversed = [](const TensorComparison& tensor) { return tensor.shape_is_reversed; };
  const auto first = std::find_if(c.tensors.begin(), c.tensors.end(), is_reversed);
  if (first != c.tensors.end()) {
    const auto n = std::count_if(c.tensors.begin(), c.tensors.end(), is_reversed);
    const auto n_equal = std::count_if(c.tensors.begin(), c.tensors.end(),
                                       [&](const auto& tensor) { return is_reversed(tensor) && tensor.hash_equal; });
    notes.push_back(fmt::format(
        "{} of {} tensors have the same values, the shape reversed: {} is [{}], the reference's [{}]; "
        "records give the slowest dimension first, [tokens, features]",
        n_equal, n, first->id.name(), fmt::join(first->shape.subject, ", "), fmt::join(first->shape.reference, ", ")));
  }
  return notes;
}

// Everything but the tensors, of which there are the most.
RunComparison compare_outputs(const trace::EngineRun& subject, const trace::EngineRun& reference,
                              const CompareOptions& options) {
  RunComparison comparison;
  comparison.exact = demand_equal_hashes(subject, reference, options.exactness, comparison.exact_reason);
  comparison.level = level_of(subject, reference, options.level, comparison.level_reason);
  comparison.cosine_grades = options.tolerances.logits_cosine;
  comparison.one_engine = are_settings_of_one_engine(subject.result, reference.result);
  comparison.tokens = compare_tokens(subject, reference);
  comparison.logits = compare_logits(subject, reference, comparison.tokens, comparison.exact, options.tolerances);
  explain_token_differences(subject, reference, comparison.logits, options.logits_noise, comparison.tokens);
  return comparison;
}

}  // namespace

RunComparison compare_runs(const trace::EngineRun& subject, const trace::EngineRun& reference,
                           const CompareOptions& options) {
  RunComparison comparison = compare_outputs(subject, reference, options);
  comparison.cut_short = options.cut_short;
  comparison.tensors = compare_tensors(subject, reference, comparison.tokens, comparison.exact, options);
  comparison.coverage = coverage_of(subject, reference, comparison);
  comparison.missing = missing_clause(comparison);
  comparison.notes = notes_of(subject, reference, comparison);
  comparison.n_hash_equal =
      static_cast<size_t>(std::count_if(comparison.tensors.begin(), comparison.tensors.end(),
                                        [](const auto& tensor) { return tensor.status == TensorStatus::kHashEqual; }));
  conclude(subject, reference, options.tolerances, comparison);
  return comparison;
}

TokenComparison compare_generation(const trace::EngineRun& subject, const trace::EngineRun& reference,
                                   const CompareOptions& options) {
  return compare_outputs(subject, reference, options).tokens;
}

}  // namespace tern::compare
