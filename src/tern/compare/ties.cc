// Greedy decoding may pick the other of two nearly equal logits without anything being wrong: ties apart from errors.
#include <algorithm>
#include <cmath>

#include "tern/compare/parts.h"

namespace tern::compare {
namespace {

// The largest difference of a row may be the very one that made the two picks differ; the typical one may not.
constexpr double kTypicalDifferences = 4;

const LogitsPosition* row_that_chose(const LogitsComparison& logits, size_t n_prompt, size_t step) {
  const size_t row = n_prompt - 1 + step;
  return n_prompt > 0 && row < logits.positions.size() ? &logits.positions[row] : nullptr;
}

std::optional<double> gap_between(const trace::EngineRun& run, size_t row, int32_t first, int32_t second) {
  const auto a = run.logit(row, first);
  const auto b = run.logit(row, second);
  return a && b ? std::optional(static_cast<double>(*a) - static_cast<double>(*b)) : std::nullopt;
}

}  // namespace

std::string_view token_difference_name(TokenDifferenceKind kind) {
  switch (kind) {
    case TokenDifferenceKind::kError:
      return "error";
    case TokenDifferenceKind::kExactTie:
      return "exact_tie";
    case TokenDifferenceKind::kNearTie:
      return "near_tie";
  }
  return "?";
}

void explain_token_differences(const trace::EngineRun& subject, const trace::EngineRun& reference,
                               const std::optional<LogitsComparison>& logits, std::span<const double> logits_noise,
                               TokenComparison& tokens) {
  const size_t n_prompt = std::max(subject.result.prompt_tokens.size(), reference.result.prompt_tokens.size());
  for (TokenDifference& difference : tokens.differences) {
    const LogitsPosition* row = logits ? row_that_chose(*logits, n_prompt, difference.step) : nullptr;
    if (row == nullptr) {
      continue;
    }
    difference.gap = gap_between(reference, row->position, difference.chosen.reference, difference.chosen.subject);
    const auto own_gap = gap_between(subject, row->position, difference.chosen.subject, difference.chosen.reference);
    // A pick that is not the largest of its own logits is a fault of the picking, whatever the gap.
    const bool usable = row->status == TensorStatus::kHashEqual || row->status == TensorStatus::kWithinTolerance;
    if (!usable || !difference.gap || *difference.gap < 0 || !own_gap || *own_gap < 0) {
      continue;
    }
    const double noise = row->position < logits_noise.size() ? logits_noise[row->position] : 0.0;
    const double typical = kTypicalDifferences * std::max(row->metrics.rms_error, noise);
    if (*difference.gap == 0 || *own_gap == 0) {
      difference.kind = TokenDifferenceKind::kExactTie;
    } else if (*difference.gap < std::min(row->metrics.max_abs, typical)) {
      difference.kind = TokenDifferenceKind::kNearTie;
    }
  }
}

}  // namespace tern::compare
