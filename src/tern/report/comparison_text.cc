#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "tern/report/format.h"
#include "tern/report/recommendations.h"
#include "tern/report/report.h"

namespace tern::report {
namespace {

using compare::RunComparison;
using compare::TensorComparison;
using compare::TensorStatus;

std::string tensor_counts(const RunComparison& c) {
  constexpr std::array kAll = {
      TensorStatus::kHashEqual,     TensorStatus::kWithinTolerance, TensorStatus::kDiverged,
      TensorStatus::kShapeMismatch, TensorStatus::kMistrusted,      TensorStatus::kClosedGate,
      TensorStatus::kOnlySubject,   TensorStatus::kOnlyReference,   TensorStatus::kAfterTokenMismatch};
  std::string out;
  for (const TensorStatus status : kAll) {
    const auto n = std::count_if(c.tensors.begin(), c.tensors.end(), [&](const auto& t) { return t.status == status; });
    if (n > 0) {
      std::string name(compare::tensor_status_name(status));
      std::replace(name.begin(), name.end(), '_', ' ');
      out += fmt::format("{}{} {}", out.empty() ? "" : ", ", n, name);
    }
  }
  return out.empty() ? "none" : out;
}

}  // namespace

std::string tensor_rows(const RunComparison& c, const trace::TensorId& around) {
  constexpr ptrdiff_t kBefore = 3, kAfter = 3;
  const auto it = std::find_if(c.tensors.begin(), c.tensors.end(), [&](const auto& t) { return t.id == around; });
  if (it == c.tensors.end()) {
    return "";
  }
  const auto begin = it - std::min(kBefore, it - c.tensors.begin());
  const auto end = it + std::min(kAfter + 1, c.tensors.end() - it);
  std::string out = fmt::format("  {:<28} {:>12} {:>12} {:>12} {:>12} {:>12}  {}\n", "tensor", "RMS", "RMS ref.",
                                "cosine", "rel. error", "max |a-b|", "status");
  for (auto row = begin; row != end; ++row) {
    const auto& m = row->metrics;
    out += fmt::format("{} {:<28} {:>12} {:>12} {:>12} {:>12} {:>12}  {}\n", row == it ? ">" : " ", row->id.name(),
                       figure(row->rms.subject), figure(row->rms.reference),
                       cosine_figure(m ? m->cosine : std::nullopt), figure(m ? m->relative_error : std::nullopt),
                       figure(m ? std::optional(m->max_abs) : std::nullopt), compare::tensor_status_name(row->status));
  }
  return out;
}

std::string comparison_text(const RunComparison& c) {
  const compare::Coverage& coverage = c.coverage;
  std::string out = fmt::format(
      "coverage   {} of {} tensors, {} of {} tokens, {} of {} rows of logits; {} of {} stages\n",
      coverage.tensors_compared, coverage.tensors_expected, coverage.tokens_compared, coverage.tokens_expected,
      coverage.positions_compared, coverage.positions_expected, coverage.stages_compared, coverage.stages_expected);
  if (coverage.unknown_stages > 0) {
    out += fmt::format("           {} trace records with unknown names left out\n", coverage.unknown_stages);
  }
  out += fmt::format("held to    {} ({})\n", c.exact ? "equal hashes" : "tolerances", one_line(c.exact_reason));
  if (!c.tokens.prompt_equal) {
    out += "tokens     the prompt's ids differ\n";
  } else {
    out += fmt::format("tokens     {} of {} equal", c.tokens.n_equal, coverage.tokens_expected);
    out += c.tokens.first_divergence_step
               ? fmt::format(", first difference at step {}\n", *c.tokens.first_divergence_step)
               : "\n";
  }
  if (c.logits && !c.logits->positions.empty()) {
    out += fmt::format("logits     cosine smallest {}, mean {}; largest difference {:.6g}\n",
                       cosine_figure(c.logits->min_cosine), cosine_figure(c.logits->mean_cosine), c.logits->max_abs);
    if (c.logits->max_log_sum_exp_difference) {
      out += fmt::format("           of {} of {} logits a row and their log-sum-exp, which differs by at most {:.6g}\n",
                         c.logits->entries_compared, c.logits->vocab.subject, *c.logits->max_log_sum_exp_difference);
    }
  } else {
    out += "logits     n/a\n";
  }
  out += fmt::format("tensors    {}\n", tensor_counts(c));
  const auto& where = c.first_divergence ? c.first_divergence : c.first_hash_difference;
  if (where) {
    out += fmt::format("\n{}: {} ({})\n", c.first_divergence ? "first divergence" : "first tensor whose bits differ",
                       where->name(), compare::place_of(*where));
    out += tensor_rows(c, *where);
    if (c.first_divergence) {
      out += advice_on(*where) + "\n";
    }
  }
  std::string verdict(compare::verdict_name(c.verdict.kind));
  std::replace(verdict.begin(), verdict.end(), '_', ' ');
  out += fmt::format("\nverdict: {}{}{}\n", verdict, c.verdict.reason.empty() ? "" : ": ", one_line(c.verdict.reason));
  return out;
}

}  // namespace tern::report
