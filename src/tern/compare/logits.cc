#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "tern/compare/parts.h"
#include "tern/trace/top_logits.h"

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
  const bool inside = !exact && metrics.cosine && *metrics.cosine >= tolerances.logits_cosine.green;
  return inside ? TensorStatus::kWithinTolerance : TensorStatus::kDiverged;
}

void summarize(LogitsComparison& logits) {
  double sum = 0;
  size_t n = 0;
  for (const LogitsPosition& position : logits.positions) {
    logits.max_abs = std::max(logits.max_abs, position.metrics.max_abs);
    if (position.log_sum_exp_difference) {
      logits.max_log_sum_exp_difference =
          std::max(logits.max_log_sum_exp_difference.value_or(0.0), std::fabs(*position.log_sum_exp_difference));
    }
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

// One side's logits, whole or the largest of each row.
class SideLogits {
 public:
  explicit SideLogits(const trace::EngineRun& run) : full_(run.logits()) {
    if (full_ != nullptr && full_->shape.size() != 2) {
      full_ = nullptr;
    } else if (full_ == nullptr && run.top_logits) {
      top_ = &*run.top_logits;
    }
  }
  bool is_there() const { return full_ != nullptr || top_ != nullptr; }
  bool is_full() const { return full_ != nullptr; }
  size_t n_rows() const { return full_ != nullptr ? static_cast<size_t>(full_->shape[0]) : top_->n_rows(); }
  size_t vocab() const { return full_ != nullptr ? static_cast<size_t>(full_->shape[1]) : top_->vocab(); }
  size_t n_known() const { return full_ != nullptr ? vocab() : top_->k(); }  // of each row
  std::span<const float> full_row(size_t row) const { return full_->values.subspan(row * vocab(), vocab()); }
  trace::TopLogitsRow top_row(size_t row) const { return top_->row(row); }

 private:
  const trace::Safetensors::Entry* full_;
  const trace::TopLogits* top_ = nullptr;
};

LogitsPosition compare_full_rows(std::span<const float> a, std::span<const float> b, bool exact,
                                 const Tolerances& tolerances) {
  const RowFacts a_facts = facts_of(a);
  const RowFacts b_facts = facts_of(b);
  LogitsPosition position;
  position.metrics = measure(a, b);
  position.status = status_of(a_facts, b_facts, position.metrics, exact, tolerances);
  position.argmax.subject = static_cast<int32_t>(a_facts.argmax);
  position.argmax.reference = static_cast<int32_t>(b_facts.argmax);
  position.reference_margin = b_facts.margin;
  return position;
}

// A row as a recording of its k largest logits shows it, whether it was recorded so or is whole.
struct TopView {
  RowFacts facts;
  std::vector<int32_t> ids;  // of the k largest, falling; none where the row is not finite
  float log_sum_exp = 0;
  std::span<const float> full;                  // empty if it was recorded so; then there are instead:
  std::unordered_map<int32_t, float> recorded;  // by id
  float smallest_recorded = 0;

  // nullopt: not recorded, and so no larger than the smallest that was.
  std::optional<float> at(int32_t id) const {
    if (!full.empty()) {
      return full[static_cast<size_t>(id)];
    }
    const auto it = recorded.find(id);
    return it == recorded.end() ? std::nullopt : std::optional(it->second);
  }
};

TopView view_of(const SideLogits& side, size_t row, size_t k) {
  TopView view;
  if (side.is_full()) {
    view.full = side.full_row(row);
    view.facts = facts_of(view.full);
    if (view.facts.finite) {
      view.ids = trace::largest_ids(view.full, k);
      view.log_sum_exp = static_cast<float>(trace::log_sum_exp(view.full));
    }
    return view;
  }
  const trace::TopLogitsRow top = side.top_row(row);
  for (size_t i = 0; i < top.ids.size(); ++i) {
    view.recorded.emplace(top.ids[i], top.logits[i]);
  }
  view.smallest_recorded = top.logits.back();
  view.ids.assign(top.ids.begin(), top.ids.begin() + static_cast<ptrdiff_t>(k));
  view.log_sum_exp = top.log_sum_exp;
  view.facts = facts_of(top.logits);
  view.facts.argmax = static_cast<size_t>(top.ids.front());
  // Zeros among the largest alone may stand above negative ones.
  const double of_zeros = std::log(static_cast<double>(side.vocab()));
  view.facts.zero =
      view.facts.zero && std::fabs(static_cast<double>(view.log_sum_exp) - of_zeros) <= 1e-6 * std::max(1.0, of_zeros);
  if (side.n_known() == 1 && side.vocab() > 1) {
    view.facts.margin = std::numeric_limits<double>::quiet_NaN();
  }
  return view;
}

struct TopMetrics {
  Metrics metrics;
  size_t n_known = 0;  // ids whose values both sides have
};

// Over the ids that are among the largest of either side.
TopMetrics measure_top(const TopView& a, const TopView& b) {
  std::vector<int32_t> ids = b.ids;
  const std::unordered_set<int32_t> in_b(b.ids.begin(), b.ids.end());
  std::copy_if(a.ids.begin(), a.ids.end(), std::back_inserter(ids), [&](int32_t id) { return !in_b.contains(id); });
  TopMetrics out;
  std::vector<float> a_values, b_values;
  for (const int32_t id : ids) {
    const auto x = a.at(id);
    const auto y = b.at(id);
    out.n_known += x && y;
    // One of them is there, since the id came from its side.
    a_values.push_back(x ? *x : std::min(*y, a.smallest_recorded));
    b_values.push_back(y ? *y : std::min(*x, b.smallest_recorded));
  }
  out.metrics = measure(a_values, b_values);
  if (!ids.empty()) {
    out.metrics.max_abs_index = static_cast<uint64_t>(ids[out.metrics.max_abs_index]);
  }
  return out;
}

// `n_known` gets how many logits both sides have.
LogitsPosition compare_top_rows(const TopView& a, const TopView& b, bool exact, const Tolerances& tolerances,
                                size_t& n_known) {
  LogitsPosition position;
  TopMetrics top = measure_top(a, b);
  n_known = top.n_known;
  position.metrics = top.metrics;
  position.status = status_of(a.facts, b.facts, position.metrics, exact, tolerances);
  position.argmax.subject = static_cast<int32_t>(a.facts.argmax);
  position.argmax.reference = static_cast<int32_t>(b.facts.argmax);
  position.reference_margin = b.facts.margin;
  if (!a.facts.finite || !b.facts.finite) {
    position.note = "a logit is NaN or infinite";
    return position;
  }
  const double difference = static_cast<double>(a.log_sum_exp) - static_cast<double>(b.log_sum_exp);
  position.log_sum_exp_difference = difference;
  if (position.status == TensorStatus::kHashEqual && (a.ids != b.ids || difference != 0)) {
    position.status = exact ? TensorStatus::kDiverged : TensorStatus::kWithinTolerance;
  }
  if (position.status == TensorStatus::kWithinTolerance &&
      std::fabs(difference) > tolerances.max_log_sum_exp_difference) {
    position.status = TensorStatus::kDiverged;
  }
  if (difference != 0) {
    position.note = fmt::format("the log-sum-exp of the whole row differs by {:.3g}", difference);
  } else if (a.ids != b.ids) {
    position.note = fmt::format("other ids are among the {} largest", b.ids.size());
  }
  return position;
}

}  // namespace

std::optional<LogitsComparison> compare_logits(const trace::EngineRun& subject, const trace::EngineRun& reference,
                                               const TokenComparison& tokens, bool exact,
                                               const Tolerances& tolerances) {
  const SideLogits a(subject), b(reference);
  if (!a.is_there() || !b.is_there()) {
    return std::nullopt;
  }
  LogitsComparison logits;
  const size_t n_prompt = std::max(subject.result.prompt_tokens.size(), reference.result.prompt_tokens.size());
  const size_t n_tokens = tokens.n_expected();
  logits.n_expected = n_prompt + (n_tokens > 0 ? n_tokens - 1 : 0);
  logits.vocab.subject = a.vocab();
  logits.vocab.reference = b.vocab();
  const int last_seq = tokens.last_comparable_seq;
  if (logits.vocab.subject != logits.vocab.reference || last_seq < 0) {
    return logits;
  }
  const size_t k = std::min(a.n_known(), b.n_known());
  const size_t n_rows = std::min({a.n_rows(), b.n_rows(), logits.n_expected, n_prompt + static_cast<size_t>(last_seq)});
  for (size_t row = 0; row < n_rows; ++row) {
    size_t n_known = k;
    LogitsPosition position =
        a.is_full() && b.is_full()
            ? compare_full_rows(a.full_row(row), b.full_row(row), exact, tolerances)
            : compare_top_rows(view_of(a, row, k), view_of(b, row, k), exact, tolerances, n_known);
    position.position = row;
    position.is_decode = row >= n_prompt;
    logits.positions.push_back(std::move(position));
    logits.entries_compared = row == 0 ? n_known : std::min(logits.entries_compared, n_known);
  }
  summarize(logits);
  return logits;
}

}  // namespace tern::compare
