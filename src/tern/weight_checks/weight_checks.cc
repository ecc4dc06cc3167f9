#include "tern/weight_checks/weight_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "tern/arch/family.h"
#include "tern/quant/i2s_bitnet32.h"
#include "tern/quant/i2s_bitnet_cpp.h"

namespace tern::weight_checks {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// What one pass over a tensor's weights yields.
struct Statistics {
  uint64_t n_weights = 0;
  uint64_t n_zero = 0;
  uint64_t n_invalid_codes = 0;  // code 3 of the ternary layout
  uint64_t n_not_finite = 0;     // floats, or blocks whose scale is not
  double sum_of_squares = 0;
  double scale_min = kInfinity;
  double scale_max = -kInfinity;

  double rms() const { return std::sqrt(sum_of_squares / static_cast<double>(n_weights)); }
  double share(uint64_t count) const { return static_cast<double>(count) / static_cast<double>(n_weights); }
  void add_scale(double scale) {
    if (!std::isfinite(scale)) {
      ++n_not_finite;
      return;
    }
    scale_min = std::min(scale_min, scale);
    scale_max = std::max(scale_max, scale);
  }
};

// Of any format: rows are decoded.
Statistics decoded_statistics(const gguf::Tensor& tensor) {
  Statistics statistics;
  statistics.n_weights = tensor.n_elements();
  std::vector<float> values(tensor.n_cols());
  for (uint64_t row = 0; row < tensor.n_rows(); ++row) {
    tensor.format->decode_row(tensor.row(row), tensor.tail(), values);
    for (const float value : values) {
      statistics.n_not_finite += std::isfinite(value) ? 0u : 1u;
      statistics.n_zero += value == 0 ? 1u : 0u;
      statistics.sum_of_squares += static_cast<double>(value) * static_cast<double>(value);
    }
  }
  return statistics;
}

// Counts bytes first, then the four codes of each byte value: the order of weights does not matter here.
Statistics ternary_statistics(const gguf::Tensor& tensor) {
  Statistics statistics;
  statistics.n_weights = tensor.n_elements();
  std::array<uint64_t, 256> n_bytes{};
  for (const std::byte byte : tensor.data.first(tensor.n_elements() / 4)) {
    ++n_bytes[std::to_integer<size_t>(byte)];
  }
  std::array<uint64_t, 4> n_codes{};
  for (size_t byte = 0; byte < n_bytes.size(); ++byte) {
    for (unsigned shift = 0; shift < 8; shift += 2) {
      n_codes[(byte >> shift) & 3u] += n_bytes[byte];
    }
  }
  const auto scale = static_cast<double>(quant::i2s_bitnet_cpp::tail_scale(tensor.tail()));
  statistics.n_zero = n_codes[1];
  statistics.n_invalid_codes = n_codes[3];
  statistics.sum_of_squares = static_cast<double>(n_codes[0] + n_codes[2]) * scale * scale;
  statistics.add_scale(scale);
  return statistics;
}

Statistics bitnet32_statistics(const gguf::Tensor& tensor) {
  using quant::i2s_bitnet32::kBlockCols;
  Statistics statistics;
  statistics.n_weights = tensor.n_elements();
  std::vector<int8_t> levels(tensor.n_cols());
  for (uint64_t row = 0; row < tensor.n_rows(); ++row) {
    quant::i2s_bitnet32::unpack_row(tensor.row(row), levels);
    for (size_t first = 0; first < levels.size(); first += kBlockCols) {
      const auto scale = static_cast<double>(quant::i2s_bitnet32::block_scale(tensor.row(row), first / kBlockCols));
      int64_t squares = 0;
      for (const int8_t level : std::span(levels).subspan(first, kBlockCols)) {
        squares += level * level;
      }
      statistics.sum_of_squares += static_cast<double>(squares) * scale * scale;
      statistics.add_scale(scale);
    }
  }
  return statistics;
}

class Checker {
 public:
  Checker(const gguf::View& view, const WeightRules* rules) : view_(view), rules_(rules) {}
  WeightReport run();

 private:
  void add(std::string_view tensor, const char* statistic, double value, const Envelope& envelope);
  void check_norm(const gguf::Tensor& tensor);
  void check_projection(const gguf::Tensor& tensor);
  void check_ternary(const gguf::Tensor& tensor);
  void check_bitnet32(const gguf::Tensor& tensor);
  void check_decoded(const gguf::Tensor& tensor);
  void add_rms(const gguf::Tensor& tensor, const Statistics& statistics);

  const gguf::View& view_;
  const WeightRules* rules_;
  WeightReport report_;
};

void Checker::add(std::string_view tensor, const char* statistic, double value, const Envelope& envelope) {
  WeightFinding finding{std::string(tensor), statistic, value, std::nullopt, true};
  if (rules_ != nullptr) {
    finding.envelope = envelope;
    finding.passed = envelope.contains(value);
    report_.n_failed += finding.passed ? 0u : 1u;
  }
  report_.findings.push_back(std::move(finding));
}

void Checker::check_norm(const gguf::Tensor& tensor) {
  ++report_.n_norms;
  if (tensor.format == nullptr || !tensor.format->is_float()) {
    add(tensor.name, "is_float", 0, {1, 1});
    return;
  }
  const Statistics statistics = decoded_statistics(tensor);
  Envelope envelope{};
  if (rules_ != nullptr) {
    envelope = rules_->other_norms;
    for (const NormRule& rule : rules_->norms) {
      if (tensor.name.ends_with(rule.name_ends_with)) {
        envelope = rule.rms;
        break;
      }
    }
  }
  add(tensor.name, "rms", statistics.rms(), envelope);
}

void Checker::add_rms(const gguf::Tensor& tensor, const Statistics& statistics) {
  add(tensor.name, "rms", statistics.rms(), rules_ == nullptr ? Envelope{} : rules_->projection_rms);
}

void Checker::check_ternary(const gguf::Tensor& tensor) {
  const Statistics statistics = ternary_statistics(tensor);
  const WeightRules rules = rules_ == nullptr ? WeightRules{} : *rules_;
  add(tensor.name, "scale", statistics.n_not_finite == 0 ? statistics.scale_max : std::nan(""), rules.projection_scale);
  add(tensor.name, "zero_fraction", statistics.share(statistics.n_zero), rules.zero_fraction);
  add(tensor.name, "invalid_codes", static_cast<double>(statistics.n_invalid_codes), {0, 0});
  add_rms(tensor, statistics);
}

void Checker::check_bitnet32(const gguf::Tensor& tensor) {
  const Statistics statistics = bitnet32_statistics(tensor);
  const Envelope envelope = rules_ == nullptr ? Envelope{} : rules_->projection_scale;
  add(tensor.name, "scale_min", statistics.scale_min, envelope);
  add(tensor.name, "scale_max", statistics.scale_max, envelope);
  add(tensor.name, "not_finite", static_cast<double>(statistics.n_not_finite), {0, 0});
  add_rms(tensor, statistics);
}

void Checker::check_decoded(const gguf::Tensor& tensor) {
  const Statistics statistics = decoded_statistics(tensor);
  const std::span<const int8_t> levels = tensor.format->levels;
  if (std::find(levels.begin(), levels.end(), 0) != levels.end()) {
    const Envelope envelope = rules_ == nullptr ? Envelope{} : rules_->zero_fraction;
    add(tensor.name, "zero_fraction", statistics.share(statistics.n_zero), envelope);
  }
  add_rms(tensor, statistics);
}

void Checker::check_projection(const gguf::Tensor& tensor) {
  // Formats with more to check than the weights' size.
  constexpr std::pair<const quant::Format*, void (Checker::*)(const gguf::Tensor&)> kChecks[] = {
      {&quant::kI2sBitnetCpp, &Checker::check_ternary}, {&quant::kI2sBitNet32F16, &Checker::check_bitnet32}};
  ++report_.n_projections;
  if (tensor.format == nullptr) {
    add(tensor.name, "supported_encoding", 0, {1, 1});
    return;
  }
  const auto* const own = std::find_if(std::begin(kChecks), std::end(kChecks),
                                       [&](const auto& check) { return check.first == tensor.format; });
  (this->*(own == std::end(kChecks) ? &Checker::check_decoded : own->second))(tensor);
}

WeightReport Checker::run() {
  report_.rules_name = rules_ == nullptr ? "" : rules_->name;
  for (const gguf::Tensor& tensor : view_.tensors()) {
    if (tensor.name.ends_with("norm.weight")) {
      check_norm(tensor);
    } else if (is_projection(tensor.name)) {
      check_projection(tensor);
    }
  }
  // A gate that had nothing to look at must not pass.
  if (report_.n_norms == 0) {
    add("", "norms_found", 0, {1, kInfinity});
  }
  if (report_.n_projections == 0) {
    add("", "projections_found", 0, {1, kInfinity});
  }
  return std::move(report_);
}

}  // namespace

bool is_projection(std::string_view name) {
  const auto is_named = [name](const arch::TensorSpec& spec) {
    return spec.use == arch::Use::kProduct && spec.is_per_layer && name.ends_with(fmt::format(".{}", spec.name));
  };
  const std::span<const arch::Family> families = arch::families();
  return std::any_of(families.begin(), families.end(), [&](const arch::Family& family) {
    return std::any_of(family.tensors.begin(), family.tensors.end(), is_named);
  });
}

WeightReport check_weights(const gguf::View& view, const WeightRules* rules) { return Checker(view, rules).run(); }

}  // namespace tern::weight_checks
