#include "tern/compare/rounding_noise.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "tern/compare/compare_runs.h"
#include "tern/compare/distance.h"

namespace tern::compare {
namespace {

using trace::EngineRun;
using trace::TensorId;
using trace::TraceRecord;

// Engines sum up squares in float32, and write few digits: no RMS is held more narrowly.
constexpr double kLeastRmsDeviation = 3e-6;

// A deviation that few tokens give is uncertain: of 5, Student's distribution reaches 3.5 times as far as the normal
// one with the same probability of 1e-5, of 10, 1.7 times, and of 80, 1.07 times.
constexpr double kFewTokens = 12;

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

// Of each token of a tensor; of attention scores, [heads, tokens, keys], over all heads.
std::vector<double> squares_by_token(const trace::Shape& shape, std::span<const float> values) {
  const size_t n_tokens = shape.size() > 1 ? static_cast<size_t>(shape[shape.size() - 2]) : 1;
  const size_t n_features = static_cast<size_t>(shape.back());
  std::vector<double> squares(n_tokens);
  for (size_t i = 0; i < values.size(); ++i) {
    squares[i / n_features % n_tokens] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  }
  return squares;
}

// `hold(record, oracle's values, rounded values)` for each tensor of both that had the same inputs.
template <class Hold>
void for_each_tensor(const EngineRun& oracle, const EngineRun& rounded, const Hold& hold) {
  const auto rows = first_rows(oracle);
  const Values oracle_values(oracle, rows), rounded_values(rounded, rows);
  const int last = last_pass_with_equal_inputs(rounded.result, oracle.result);
  for (const TraceRecord& record : oracle.trace) {
    const auto exact = oracle_values.of(record), coarse = rounded_values.of(record);
    if (exact && coarse && record.id.seq <= last) {
      hold(record, *exact, *coarse);
    }
  }
}

}  // namespace

RoundingNoise::RoundingNoise(const EngineRun& oracle, const EngineRun& rounded) { include(oracle, rounded); }

void RoundingNoise::include(const EngineRun& oracle, const EngineRun& rounded) {
  const std::vector<double> logits = row_noise(oracle, rounded);
  logits_.resize(std::max(logits_.size(), logits.size()));
  std::transform(logits.begin(), logits.end(), logits_.begin(), logits_.begin(),
                 [](double a, double b) { return std::max(a, b); });
  for_each_tensor(oracle, rounded, [this](const TraceRecord& record, auto exact, auto coarse) {
    if (const auto error = error_of_values(coarse, exact)) {
      Distance& known = by_stage_[record.id.stage][record.id.layer];
      known.relative = std::max(known.relative, error->relative);
      known.largest = std::max(known.largest, error->largest.value_or(0));
    }
  });
}

void RoundingNoise::include_rms(const EngineRun& oracle, const EngineRun& rounded,
                                const std::optional<TensorId>& known_before) {
  known_before_ = known_before;
  for_each_tensor(oracle, rounded, [this](const TraceRecord& record, auto exact, auto coarse) {
    const bool is_known = known_before_ && record.id < *known_before_;
    if (is_known || record.shape.empty() || record.shape.back() == 0 || !record.finite_rms() || *record.rms == 0) {
      return;
    }
    const std::vector<double> should = squares_by_token(record.shape, exact);
    const std::vector<double> is = squares_by_token(record.shape, coarse);
    const size_t n_features = exact.size() / should.size();
    const double mean_square = *record.rms * *record.rms * static_cast<double>(n_features);
    double sum = 0, sum_of_squares = 0;
    for (size_t token = 0; token < should.size(); ++token) {
      const double contribution = (is[token] - should[token]) / (2 * mean_square);
      sum += contribution;
      sum_of_squares += contribution * contribution;
    }
    const double change = sum / static_cast<double>(should.size());
    if (!std::isfinite(change)) {
      return;
    }
    RmsSamples& samples = rms_[record.id.stage][record.id];
    ++samples.n_samples;
    samples.n_tokens = should.size();
    samples.of_tokens += sum_of_squares;
    samples.of_tensor += change * change;
  });
}

std::optional<double> RoundingNoise::rms_deviation(const TensorId& id) const {
  const auto stage = rms_.find(id.stage);
  if (stage == rms_.end() || !stage->second.contains(id)) {
    return std::nullopt;
  }
  const bool is_behind = known_before_ && id.seq > known_before_->seq;
  struct Pool {
    double sum = 0, n = 0;
    double variance() const {
      const double factor = 1 + kFewTokens / n;
      return factor * factor * sum / n;
    }
  };
  std::map<int, Pool> by_layer;
  Pool together;  // how much more tensors of many tokens move as a whole than they would if each went its own way
  for (const auto& [other, samples] : stage->second) {
    const bool counts =
        other.layer <= id.layer && other.seq <= id.seq && !(is_behind && other.seq == known_before_->seq);
    if (counts) {
      Pool& pool = by_layer[other.layer];
      pool.sum += samples.of_tokens;
      pool.n += static_cast<double>(samples.n_samples * samples.n_tokens);
      const auto n_tokens = static_cast<double>(samples.n_tokens);
      if (samples.n_tokens > 1 && samples.of_tokens > 0) {
        together.sum += samples.of_tensor * n_tokens * n_tokens / samples.of_tokens;
        together.n += 1;
      }
    }
  }
  double of_token = 0;
  for (const auto& [layer, pool] : by_layer) {
    of_token = std::max(of_token, pool.variance());
  }
  const RmsSamples& own = stage->second.at(id);
  const double more = own.n_tokens > 1 && together.n > 0 ? std::max(together.sum / together.n, 1.0) : 1.0;
  const double of_tokens = more * of_token / static_cast<double>(own.n_tokens);
  const double of_tensor = own.of_tensor / static_cast<double>(own.n_samples);
  return std::max(std::sqrt(std::max(of_tokens, of_tensor)), kLeastRmsDeviation);
}

std::optional<RoundingBound> RoundingNoise::bound(const TensorId& id) const {
  const auto layers = by_stage_.find(id.stage);
  if (layers == by_stage_.end()) {
    return std::nullopt;
  }
  RoundingBound bound;
  for (const auto& [layer, distance] : layers->second) {
    if (layer <= id.layer) {
      bound.relative = std::max(bound.relative, kRoundingAllowance * distance.relative);
      bound.largest = std::max(bound.largest, kRoundingAllowance * distance.largest);
    }
  }
  const auto deviation = rms_deviation(id);
  bound.rms = deviation ? std::min(kRmsAllowance * *deviation, bound.relative) : bound.relative;
  return bound;
}

}  // namespace tern::compare
