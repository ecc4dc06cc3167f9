#include "tern/compare/distance.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string_view>

#include "tern/compare/metrics.h"

namespace tern::compare {

using trace::TraceRecord;

std::map<trace::TensorId, size_t> first_rows(const trace::EngineRun& oracle) {
  std::map<trace::TensorId, size_t> rows;
  size_t next = 0;
  for (const TraceRecord& record : oracle.trace) {
    if (record.id.stage == trace::Stage::kLogits && !record.shape.empty()) {
      rows[record.id] = next;
      next += static_cast<size_t>(record.shape[0]);
    }
  }
  return rows;
}

std::optional<std::span<const float>> Values::of(const TraceRecord& wanted) const {
  if (const auto* entry = run_.values ? run_.values->find(wanted.id.name()) : nullptr;
      entry != nullptr && trace::is_same_or_reversed(entry->shape, wanted.shape)) {
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

RmsPrecision::RmsPrecision(const trace::EngineRun* run) {
  if (run == nullptr) {
    return;
  }
  for (const TraceRecord& record : run->trace) {
    if (!record.finite_rms() || *record.rms == 0) {
      continue;
    }
    char text[32];  // d.ddde+dd: the shortest that is read as the same number
    const auto written = std::to_chars(std::begin(text), std::end(text), *record.rms, std::chars_format::scientific);
    const std::string_view digits(text, static_cast<size_t>(written.ptr - text));
    const size_t exponent_at = digits.find('e');
    int exponent = 0;
    const size_t signed_at = exponent_at + (digits[exponent_at + 1] == '+' ? 2 : 1);
    std::from_chars(digits.data() + signed_at, written.ptr, exponent);
    const int significant = static_cast<int>(exponent_at > 1 ? exponent_at - 1 : 1);
    significant_ = std::max(significant_, significant);
    decimals_ = std::max(decimals_, significant - 1 - exponent);
  }
}

double RmsPrecision::half_unit(double rms) const {
  if (rms == 0) {
    return 0.5 * std::pow(10, -decimals_);
  }
  const double last_of_significant = std::floor(std::log10(std::abs(rms))) + 1 - significant_;
  return 0.5 * std::pow(10, std::max(static_cast<double>(-decimals_), last_of_significant));
}

std::optional<OracleError> error_of_values(std::span<const float> x, std::span<const float> oracle) {
  const Metrics metrics = measure(x, oracle);
  if (metrics.n_non_finite > 0) {
    return OracleError{kInfinity, false, kInfinity};
  }
  if (!metrics.relative_error) {
    return std::nullopt;
  }
  const double rms = metrics.rms_error > 0 ? metrics.rms_error / *metrics.relative_error : 0;
  return OracleError{*metrics.relative_error, false, rms > 0 ? metrics.max_abs / rms : 0};
}

}  // namespace tern::compare
