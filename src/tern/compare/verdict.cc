#include "tern/compare/verdict.h"

#include <fmt/format.h>

#include <algorithm>

#include "tern/compare/parts.h"

namespace tern::compare {
namespace {

using trace::EngineRun;
using trace::TensorId;

// A share of the tensors that both sides have. A layer has about twenty, three of which follow the gate. So the share
// is reached when the gates of two thirds of the layers let nothing through: no longer an accident of one token.
constexpr double kMaxClosedGateShare = 0.1;

// Where a row of logits stands in execution order: after every tensor of its forward pass.
TensorId id_of_row(const LogitsPosition& position, size_t n_prompt) {
  TensorId id;
  id.seq = position.is_decode ? static_cast<int>(position.position - n_prompt + 1) : 0;
  id.stage = trace::Stage::kLogits;
  return id;
}

// Collects what is needed to say what came first.
class Judge {
 public:
  Judge(const EngineRun& subject, const EngineRun& reference, const Tolerances& tolerances, RunComparison& comparison)
      : subject_(subject), reference_(reference), tolerances_(tolerances), c_(comparison) {
    for (const TensorComparison& tensor : c_.tensors) {
      look_at(tensor);
    }
    if (c_.logits) {
      for (const LogitsPosition& position : c_.logits->positions) {
        look_at(position);
      }
    }
  }

  Verdict verdict();

 private:
  void look_at(const TensorComparison& tensor);
  void look_at(const LogitsPosition& position);
  bool is_divergence(const TensorComparison& tensor) const;
  void name_first_divergence();
  std::optional<Verdict> mistrust() const;
  std::string too_few_tensors() const;
  std::string too_few_logits() const;
  std::string diverged_reason() const;
  std::string tensor_reason(const TensorComparison& tensor) const;
  std::string row_reason(const LogitsPosition& position) const;
  std::string token_reason() const;
  std::string tie_reason() const;
  bool a_token_is_wrong() const;
  Verdict agreement() const;
  const LogitsPosition* row_that_chose(size_t step) const;
  bool demands_tensors() const { return c_.level == trace::Level::kTensors; }
  bool a_trace_is_empty() const { return subject_.trace.empty() || reference_.trace.empty(); }
  size_t n_prompt() const { return reference_.result.prompt_tokens.size(); }

  const EngineRun& subject_;
  const EngineRun& reference_;
  const Tolerances& tolerances_;
  RunComparison& c_;

  const TensorComparison* first_diverged_ = nullptr;
  const LogitsPosition* first_diverged_row_ = nullptr;
  const TensorComparison* first_mistrusted_ = nullptr;
  const TensorComparison* first_not_finite_ = nullptr;
  const LogitsPosition* first_mistrusted_row_ = nullptr;
  size_t n_diverged_ = 0, n_mistrusted_ = 0, n_closed_gates_ = 0, n_both_sides_ = 0, n_prove_nothing_ = 0;
};

bool Judge::is_divergence(const TensorComparison& tensor) const {
  switch (tensor.status) {
    case TensorStatus::kDiverged:
    case TensorStatus::kShapeMismatch:
      return true;
    case TensorStatus::kOnlySubject:
    case TensorStatus::kOnlyReference:
      // The same arithmetic has the same stages, but for another graph that a setting leads to; a side that has traced
      // nothing at all is another matter.
      return demands_tensors() && c_.exact && is_missing(tensor, c_.one_engine) && !a_trace_is_empty();
    default:
      return false;
  }
}

void Judge::look_at(const TensorComparison& tensor) {
  const auto note_first = [&tensor](const TensorComparison*& first) {
    if (first == nullptr) {
      first = &tensor;
    }
  };
  const bool both_sides = !tensor.shape.subject.empty() && !tensor.shape.reference.empty();
  n_both_sides_ += both_sides;
  if (both_sides && !tensor.hash_equal && tensor.status != TensorStatus::kAfterTokenMismatch &&
      !c_.first_hash_difference) {
    c_.first_hash_difference = tensor.id;
  }
  if (is_divergence(tensor)) {
    note_first(first_diverged_);
    ++n_diverged_;
  }
  if (tensor.status == TensorStatus::kMistrusted) {
    note_first(first_mistrusted_);
    ++n_mistrusted_;
    if (!tensor.rms.subject && !tensor.rms.reference) {
      note_first(first_not_finite_);
    }
  }
  n_closed_gates_ += tensor.status == TensorStatus::kClosedGate;
  n_prove_nothing_ += tensor.proves_nothing;
}

void Judge::look_at(const LogitsPosition& position) {
  if (position.status == TensorStatus::kDiverged && first_diverged_row_ == nullptr) {
    first_diverged_row_ = &position;
  }
  if (position.status == TensorStatus::kMistrusted && first_mistrusted_row_ == nullptr) {
    first_mistrusted_row_ = &position;
  }
}

void Judge::name_first_divergence() {
  if (first_diverged_ != nullptr) {
    c_.first_divergence = first_diverged_->id;
  }
  if (first_diverged_row_ != nullptr) {
    const TensorId id = id_of_row(*first_diverged_row_, n_prompt());
    if (c_.first_divergence && c_.first_divergence->seq <= id.seq) {
      first_diverged_row_ = nullptr;
    } else {
      c_.first_divergence = id;
      first_diverged_ = nullptr;
    }
  }
}

std::string Judge::tensor_reason(const TensorComparison& tensor) const {
  const std::string name = tensor.id.name();
  std::string out =
      c_.cut_short ? fmt::format("{} is the first tensor that differs ({})", name, place_of(tensor.id))
      : n_diverged_ == 1
          ? fmt::format("{} is the only tensor that differs ({})", name, place_of(tensor.id))
          : fmt::format("{} is the first of {} tensors that differ ({})", name, n_diverged_, place_of(tensor.id));
  if (!c_.exact) {
    out += " by more than the tolerance";
  }
  switch (tensor.status) {
    case TensorStatus::kOnlySubject:
      return out + ": the reference did not trace it";
    case TensorStatus::kOnlyReference:
      return out + ": the subject did not trace it";
    case TensorStatus::kShapeMismatch:
      return out + fmt::format(": its shape is [{}], the reference's [{}]", fmt::join(tensor.shape.subject, ", "),
                               fmt::join(tensor.shape.reference, ", "));
    default:
      break;
  }
  const auto rms = [](const std::optional<double>& value) {
    return value ? fmt::format("{:.6g}", *value) : std::string("not finite");
  };
  out += fmt::format(": RMS {}, the reference's {}", rms(tensor.rms.subject), rms(tensor.rms.reference));
  if (tensor.shape_is_reversed) {
    out += "; " + tensor.note;
  }
  if (tensor.metrics) {
    const Metrics& m = *tensor.metrics;
    out += fmt::format("; {} of {} values differ", m.n_different, m.n);
    out += m.n_non_finite > 0 ? fmt::format(", {} of them are NaN or infinite on one side", m.n_non_finite) : "";
    out += m.n > m.n_non_finite ? fmt::format(", the largest difference is {:.6g}", m.max_abs) : "";
    out += m.cosine ? fmt::format(", cosine {:.9f}", *m.cosine) : std::string();
    out += m.relative_error ? fmt::format(", relative error {:.3g}", *m.relative_error) : std::string();
  }
  return out;
}

std::string Judge::row_reason(const LogitsPosition& position) const {
  const TensorId id = id_of_row(position, n_prompt());
  std::string out =
      fmt::format("the logits of row {} ({}) are the first thing that differs", position.position, place_of(id));
  if (position.metrics.n_non_finite > 0) {
    return out + fmt::format(": {} of {} values are not finite", position.metrics.n_non_finite, position.metrics.n);
  }
  if (!position.metrics.cosine) {
    return out + ": one side is all zeros";
  }
  out += fmt::format(": cosine {:.9f}, the largest difference is {:.6g}", *position.metrics.cosine,
                     position.metrics.max_abs);
  if (position.log_sum_exp_difference) {  // only the largest logits were recorded
    out += fmt::format(" among {} logits{}{}", position.metrics.n, position.note.empty() ? "" : "; ", position.note);
  }
  if (c_.exact) {
    return out;
  }
  out += fmt::format("; at least {} is demanded", tolerances_.logits_cosine.green);
  return position.log_sum_exp_difference
             ? out + fmt::format(", and a log-sum-exp within {}", tolerances_.max_log_sum_exp_difference)
             : out;
}

const LogitsPosition* Judge::row_that_chose(size_t step) const {
  if (!c_.logits || n_prompt() == 0) {
    return nullptr;
  }
  const size_t row = n_prompt() - 1 + step;
  return row < c_.logits->positions.size() ? &c_.logits->positions[row] : nullptr;
}

std::string Judge::token_reason() const {
  const TokenComparison& tokens = c_.tokens;
  const auto error = std::find_if(tokens.differences.begin(), tokens.differences.end(),
                                  [](const auto& d) { return d.kind == TokenDifferenceKind::kError; });
  const size_t step = error != tokens.differences.end() ? error->step : *tokens.first_divergence_step;
  if (step >= tokens.n_compared) {
    return fmt::format(
        "the {} stopped after {} generated tokens, the other side went on to {}",
        side_name(tokens.n_generated.subject < tokens.n_generated.reference ? Side::kSubject : Side::kReference),
        tokens.n_compared, tokens.n_expected());
  }
  const int32_t a = subject_.result.generated_tokens[step];
  std::string out = fmt::format("the generated tokens differ from step {} on: {}, the reference's {}", step, a,
                                reference_.result.generated_tokens[step]);
  if (const LogitsPosition* row = row_that_chose(step); row != nullptr && row->argmax.subject != a) {
    out +=
        fmt::format("; the subject's own logits prefer {}, so how it picks a token is at fault", row->argmax.subject);
  }
  return out;
}

std::string Judge::diverged_reason() const {
  if (!c_.tokens.prompt_equal) {
    const auto& a = subject_.result.prompt_tokens;
    const auto& b = reference_.result.prompt_tokens;
    const auto at = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
    const auto id = [](auto it, auto end) { return it == end ? std::string("nothing") : std::to_string(*it); };
    return fmt::format("the prompt's token ids differ from position {} on: {}, the reference's {} ({} ids, {} ids)",
                       at.first - a.begin(), id(at.first, a.end()), id(at.second, b.end()), a.size(), b.size());
  }
  std::string out = first_diverged_ != nullptr       ? tensor_reason(*first_diverged_)
                    : first_diverged_row_ != nullptr ? row_reason(*first_diverged_row_)
                    : c_.logits && c_.logits->vocab.subject != c_.logits->vocab.reference
                        ? fmt::format("the logits have {} entries a row, the reference's {}", c_.logits->vocab.subject,
                                      c_.logits->vocab.reference)
                        : std::string();
  if (c_.tokens.first_divergence_step) {
    out += (out.empty() ? "" : "; ") + token_reason();
  }
  return out;
}

// What there is to say of tokens that differ although nothing is wrong.
std::string Judge::tie_reason() const {
  std::string out;
  for (const TokenDifference& difference : c_.tokens.differences) {
    out += fmt::format("{} at step {}: the reference rates its token {} above the subject's {} by {:.3g}; ",
                       difference.kind == TokenDifferenceKind::kExactTie ? "exact tie" : "near tie", difference.step,
                       difference.chosen.reference, difference.chosen.subject, difference.gap.value_or(0));
  }
  if (!out.empty() && !c_.tokens.teacher_forced) {
    out += "nothing after it is compared; ";
  }
  return out;
}

// Whether some token differs for another reason than a tie; a token that one side lacks does.
bool Judge::a_token_is_wrong() const {
  const auto& differences = c_.tokens.differences;
  const bool only_ties = !differences.empty() && std::all_of(differences.begin(), differences.end(), [](const auto& d) {
    return d.kind != TokenDifferenceKind::kError;
  });
  return c_.tokens.first_divergence_step &&
         !(only_ties && c_.tokens.n_generated.subject == c_.tokens.n_generated.reference);
}

// Why the tensors that were compared do not suffice; empty: they do.
std::string Judge::too_few_tensors() const {
  if (c_.coverage.tensors_compared == 0) {
    return fmt::format("none of {} tensors could be compared: the two sides have no stage in common",
                       c_.coverage.tensors_expected);
  }
  // A few early stages say nothing about the rest, and without logits nothing says how it ended.
  if (c_.coverage.positions_compared == 0 && 2 * c_.coverage.stages_compared < c_.coverage.stages_expected) {
    return fmt::format("only {} of {} stages were compared, and no logits", c_.coverage.stages_compared,
                       c_.coverage.stages_expected);
  }
  if (!c_.missing.empty()) {
    return fmt::format("{} of {} tensors were not compared: {} (--allow-missing PATTERN permits that)",
                       c_.coverage.tensors_missing, c_.coverage.tensors_expected, c_.missing);
  }
  if (static_cast<double>(n_closed_gates_) > kMaxClosedGateShare * static_cast<double>(n_both_sides_)) {
    return fmt::format("{} of {} tensors are zero behind a closed gate on both sides", n_closed_gates_, n_both_sides_);
  }
  if (static_cast<double>(n_prove_nothing_) > kMaxClosedGateShare * static_cast<double>(n_both_sides_)) {
    return fmt::format("{} of {} tensors are all zeros or not finite on both sides", n_prove_nothing_, n_both_sides_);
  }
  return {};
}

// The same of logits; the rows that both had equal inputs of are expected.
std::string Judge::too_few_logits() const {
  if (!c_.logits) {
    const bool subject_has_some = subject_.logits() != nullptr || subject_.top_logits;
    return fmt::format("the {} has no logits, and the level demands them",
                       side_name(subject_has_some ? Side::kReference : Side::kSubject));
  }
  const size_t n_comparable = n_prompt() + static_cast<size_t>(std::max(c_.tokens.last_comparable_seq, 0));
  const size_t n_expected = std::min(n_comparable, c_.coverage.positions_expected);
  return c_.coverage.positions_compared > 0 && c_.coverage.positions_compared >= n_expected
             ? std::string()
             : fmt::format("{} of {} rows of logits were compared, and the level demands all of them",
                           c_.coverage.positions_compared, n_expected);
}

std::optional<Verdict> Judge::mistrust() const {
  const auto because = [](std::string reason) { return Verdict{VerdictKind::kMistrusted, std::move(reason)}; };
  if (demands_tensors() && a_trace_is_empty()) {
    const EngineRun& empty = subject_.trace.empty() ? subject_ : reference_;
    return because(
        fmt::format("{} has no trace: equal tokens alone do not show that the engine computes what it should",
                    &empty == &subject_ ? "the subject" : "the reference"));
  }
  if (first_mistrusted_ != nullptr) {
    return because(fmt::format("{}: {} ({} of {} tensors prove nothing)", first_mistrusted_->id.name(),
                               first_mistrusted_->note, n_mistrusted_, c_.coverage.tensors_expected));
  }
  if (first_mistrusted_row_ != nullptr) {
    return because(
        fmt::format("the logits of row {} are all zeros or not finite on both sides", first_mistrusted_row_->position));
  }
  if (c_.coverage.tokens_expected == 0) {
    return because("neither side generated a token");
  }
  std::string too_few = c_.level == trace::Level::kTensors  ? too_few_tensors()
                        : c_.level == trace::Level::kLogits ? too_few_logits()
                                                            : std::string();
  return too_few.empty() ? std::nullopt : std::optional(because(std::move(too_few)));
}

Verdict Judge::agreement() const {
  const Coverage& coverage = c_.coverage;
  std::string missing;
  if (coverage.tensors_of_one_graph > 0) {
    missing = fmt::format("{} nodes are in one of the two graphs only", coverage.tensors_of_one_graph);
  }
  if (coverage.tensors_allowed_missing > 0) {
    missing +=
        fmt::format("{}{} tensors that may be missing", missing.empty() ? "" : ", ", coverage.tensors_allowed_missing);
  }
  if (n_closed_gates_ > 0) {
    missing += fmt::format("{}{} are zero behind a closed gate", missing.empty() ? "" : ", ", n_closed_gates_);
  }
  const std::string not_compared = missing.empty() ? "" : fmt::format("not compared: {}", missing);
  const bool logits_equal =
      !c_.logits || std::all_of(c_.logits->positions.begin(), c_.logits->positions.end(),
                                [](const auto& p) { return p.status == TensorStatus::kHashEqual; });
  const std::string ties = tie_reason();
  if (c_.n_hash_equal == c_.coverage.tensors_compared && logits_equal && ties.empty()) {
    return {VerdictKind::kMatch, not_compared};
  }
  size_t n_by_rms = 0;
  const TensorComparison* worst = nullptr;
  for (const TensorComparison& tensor : c_.tensors) {
    n_by_rms += tensor.status == TensorStatus::kWithinTolerance && !tensor.metrics;
    if (tensor.metrics && tensor.metrics->relative_error &&
        (worst == nullptr || *tensor.metrics->relative_error > *worst->metrics->relative_error)) {
      worst = &tensor;
    }
  }
  std::string reason = ties;
  reason += fmt::format("{} of {} tensors are equal by hash, the others within tolerance", c_.n_hash_equal,
                        c_.coverage.tensors_compared);
  if (n_by_rms > 0) {
    reason += fmt::format(" ({} judged by RMS alone)", n_by_rms);
  }
  if (worst != nullptr && *worst->metrics->relative_error > 0) {
    reason += fmt::format(", largest relative error {:.3g} at {}", *worst->metrics->relative_error, worst->id.name());
  }
  if (c_.logits && c_.logits->min_cosine) {
    reason += fmt::format(", smallest logits cosine {:.9f}", *c_.logits->min_cosine);
  }
  return {VerdictKind::kWithinTolerance, reason + (not_compared.empty() ? "" : "; " + not_compared)};
}

Verdict Judge::verdict() {
  if (!c_.tokens.prompt_equal) {
    return {VerdictKind::kDiverged, diverged_reason()};
  }
  name_first_divergence();
  const bool vocab_differs = c_.logits && c_.logits->vocab.subject != c_.logits->vocab.reference;
  const bool something_diverged = c_.first_divergence || vocab_differs || a_token_is_wrong();
  // What comes after NaN on both sides differs or not by chance.
  const bool not_finite_before =
      first_not_finite_ != nullptr &&
      !(c_.first_divergence && trace::executed_before(subject_.trace, *c_.first_divergence, first_not_finite_->id));
  const bool only_tokens_after_bad_logits = !c_.first_divergence && first_mistrusted_row_ != nullptr;
  if (something_diverged && !not_finite_before && !only_tokens_after_bad_logits) {
    return {VerdictKind::kDiverged, diverged_reason()};
  }
  if (auto mistrusted = mistrust()) {
    c_.first_divergence.reset();
    return *mistrusted;
  }
  return agreement();
}

}  // namespace

std::string place_of(const TensorId& id) {
  std::string out = id.seq == 0 ? "prefill" : fmt::format("decode step {}", id.seq);
  if (id.ubatch > 0) {
    out += fmt::format(", ubatch {}", id.ubatch);
  }
  return id.layer >= 0 ? out + fmt::format(", layer {}", id.layer) : out;
}

void conclude(const EngineRun& subject, const EngineRun& reference, const Tolerances& tolerances,
              RunComparison& comparison) {
  comparison.verdict = Judge(subject, reference, tolerances, comparison).verdict();
}

}  // namespace tern::compare
