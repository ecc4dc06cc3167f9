#include <algorithm>
#include <limits>

#include "tern/compare/parts.h"

namespace tern::compare {
namespace {

using trace::RunResult;

// What the decode steps were given: the teacher's tokens where there is a teacher, the engine's own elsewhere.
int32_t fed(const RunResult& result, size_t step) {
  return step < result.teacher_tokens.size() ? result.teacher_tokens[step] : result.generated_tokens[step];
}

}  // namespace

int last_pass_with_equal_inputs(const RunResult& a, const RunResult& b) {
  const bool known = !a.prompt_tokens.empty() && !b.prompt_tokens.empty();
  if (known && a.prompt_tokens != b.prompt_tokens) {
    return -1;
  }
  const size_t n = std::min(a.generated_tokens.size(), b.generated_tokens.size());
  for (size_t step = 0; step + 1 < n; ++step) {
    if (fed(a, step) != fed(b, step)) {
      return static_cast<int>(step);  // the pass that chose the token of this step
    }
  }
  return n == 0 ? 0 : static_cast<int>(n - 1);
}

std::optional<trace::TensorId> where_they_part(const trace::EngineRun& a, const trace::EngineRun& b,
                                               FirstTensor first) {
  const int last = last_pass_with_equal_inputs(a.result, b.result);
  bool is_first = first == FirstTensor::kProvesNothing;
  for (const trace::TraceRecord& record : a.trace) {
    const trace::TraceRecord* const other = b.find(record.id);
    if (other == nullptr || record.id.seq > last) {
      continue;
    }
    if (record.blake3 != other->blake3) {
      return is_first ? std::nullopt : std::optional(record.id);
    }
    is_first = false;
  }
  return std::nullopt;
}

TokenComparison compare_tokens(const trace::EngineRun& subject, const trace::EngineRun& reference) {
  const auto& a = subject.result.generated_tokens;
  const auto& b = reference.result.generated_tokens;
  const auto asked = [](const RunResult& result) {
    return std::max(result.generated_tokens.size(), static_cast<size_t>(std::max(result.max_tokens, 0)));
  };
  TokenComparison tokens;
  tokens.prompt_known = !subject.result.prompt_tokens.empty() && !reference.result.prompt_tokens.empty();
  tokens.prompt_equal = !tokens.prompt_known || subject.result.prompt_tokens == reference.result.prompt_tokens;
  tokens.teacher_forced = !subject.result.teacher_tokens.empty() || !reference.result.teacher_tokens.empty();
  tokens.last_comparable_seq = last_pass_with_equal_inputs(subject.result, reference.result);
  tokens.n_asked = std::min(asked(subject.result), asked(reference.result));
  tokens.n_generated = {std::min(a.size(), tokens.n_asked), std::min(b.size(), tokens.n_asked)};
  if (!tokens.prompt_equal) {
    return tokens;
  }
  tokens.n_compared = std::min(tokens.n_generated.subject, tokens.n_generated.reference);
  const size_t n_all = tokens.n_expected();
  for (size_t step = 0; step < n_all; ++step) {
    const bool equal = step < tokens.n_compared && a[step] == b[step];
    tokens.n_equal += equal;
    if (equal) {
      continue;
    }
    if (!tokens.first_divergence_step) {
      tokens.first_divergence_step = step;
    }
    if (step < tokens.n_compared && static_cast<int>(step) <= tokens.last_comparable_seq) {
      tokens.differences.push_back({.step = step, .chosen = {a[step], b[step]}, .gap = std::nullopt});
    }
  }
  if (n_all > 0) {
    tokens.exact_match_rate = static_cast<double>(tokens.n_equal) / static_cast<double>(n_all);
  }
  return tokens;
}

}  // namespace tern::compare
