#include <algorithm>
#include <cmath>

#include "tern/compare/parts.h"

namespace tern::compare {
namespace {

struct RowFacts {
  bool finite = true;
  bool zero = true;
  size_t argmax = 0;  // the first of the largest, as greedy decoding takes it
  double margin = 0;  // largest minus second largest
};

RowFacts facts_of(std::span<const float> row) {
  RowFacts facts;
  double best = -std::numeric_limits<double>::infinity();
  double second = best;
  for (size_t i = 0; i < row.size(); ++i) {
    const double value = static_cast<double>(row[i]);
    facts.finite = facts.finite && std::isfinite(value);
    facts.zero = facts.zero && value == 0;
    if (value > best) {
      second = best;
      best = value;
      facts.argmax = i;
    } else if (value > second) {
      second = value;
    }
  }
  facts.margin = row.size() > 1 && facts.finite ? best - second : 0;
  return facts;
}

TensorStatus status_of(const RowFacts& a, const RowFacts& b, const Metrics& metrics, bool exact,
                       const Tolerances& tolerances) {
  const auto usable = [](const RowFacts& row) { return row.finite && !row.zero; };
  if (!usable(a) && !usable(b)) {
    return TensorStatus::kMistrusted;
  }
  if (!usable(a) || !usable(b)) {
    return TensorStatus::kDiverged;
  }
  if (metrics.n_different == 0) {
    return TensorStatus::kHashEqual;
  }
  const bool inside = !exact && metrics.cosine && *metrics.cosine >= tolerances.min_logits_cosine;
  return inside ? TensorStatus::kWithinTolerance : TensorStatus::kDiverged;
}

void summarize(LogitsComparison& logits) {
  double sum = 0;
  size_t n = 0;
  for (const LogitsPosition& position : logits.positions) {
    logits.max_abs = std::max(logits.max_abs, position.metrics.max_abs);
    if (position.metrics.cosine) {
      logits.min_cosine = std::min(logits.min_cosine.value_or(1.0), *position.metrics.cosine);
      sum += *position.metrics.cosine;
      ++n;
    }
  }
  if (n > 0) {
    logits.mean_cosine = sum / static_cast<double>(n);
  }
}

}  // namespace

std::optional<LogitsComparison> compare_logits(const trace::EngineRun& subject, const trace::EngineRun& reference,
                                               const TokenComparison& tokens, bool exact,
                                               const Tolerances& tolerances) {
  const auto* a = subject.logits();
  const auto* b = reference.logits();
  if (a == nullptr || b == nullptr || a->shape.size() != 2 || b->shape.size() != 2) {
    return std::nullopt;
  }
  LogitsComparison logits;
  const size_t n_prompt = std::max(subject.result.prompt_tokens.size(), reference.result.prompt_tokens.size());
  const size_t n_tokens = std::max(tokens.n_subject, tokens.n_reference);
  logits.n_expected = n_prompt + (n_tokens > 0 ? n_tokens - 1 : 0);
  logits.subject_vocab = static_cast<size_t>(a->shape[1]);
  logits.reference_vocab = static_cast<size_t>(b->shape[1]);
  const int last_seq = last_comparable_seq(tokens);
  if (logits.subject_vocab != logits.reference_vocab || last_seq < 0) {
    return logits;
  }
  const size_t vocab = logits.subject_vocab;
  const size_t n_rows = std::min({static_cast<size_t>(a->shape[0]), static_cast<size_t>(b->shape[0]), logits.n_expected,
                                  n_prompt + static_cast<size_t>(last_seq)});
  for (size_t row = 0; row < n_rows; ++row) {
    const auto subject_row = a->values.subspan(row * vocab, vocab);
    const auto reference_row = b->values.subspan(row * vocab, vocab);
    const RowFacts subject_facts = facts_of(subject_row);
    const RowFacts reference_facts = facts_of(reference_row);
    LogitsPosition position;
    position.position = row;
    position.is_decode = row >= n_prompt;
    position.metrics = measure(subject_row, reference_row);
    position.status = status_of(subject_facts, reference_facts, position.metrics, exact, tolerances);
    position.subject_argmax = static_cast<int32_t>(subject_facts.argmax);
    position.reference_argmax = static_cast<int32_t>(reference_facts.argmax);
    position.reference_margin = reference_facts.margin;
    logits.positions.push_back(std::move(position));
  }
  summarize(logits);
  return logits;
}

}  // namespace tern::compare
