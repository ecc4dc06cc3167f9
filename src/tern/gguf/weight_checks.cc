#include "tern/gguf/weight_checks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "tern/quant/half.h"
#include "tern/quant/i2s.h"

namespace tern::gguf {
namespace {

using quant::Encoding;
using quant::I2sLayout;

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

Statistics float_statistics(const Tensor& tensor) {
  Statistics statistics;
  statistics.n_weights = tensor.n_elements();
  const size_t width = tensor.encoding == Encoding::kF16 ? 2 : 4;
  for (size_t at = 0; at < tensor.data.size(); at += width) {
    float value = 0;
    if (width == 2) {
      uint16_t half = 0;
      std::memcpy(&half, tensor.data.data() + at, sizeof(half));
      value = quant::half_to_float(half);
    } else {
      std::memcpy(&value, tensor.data.data() + at, sizeof(value));
    }
    statistics.n_not_finite += std::isfinite(value) ? 0u : 1u;
    statistics.n_zero += value == 0 ? 1u : 0u;
    statistics.sum_of_squares += static_cast<double>(value) * static_cast<double>(value);
  }
  return statistics;
}

// Counts bytes first, then the four codes of each byte value: the order of weights does not matter here.
Statistics ternary_statistics(const Tensor& tensor) {
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
  const auto scale = static_cast<double>(quant::i2s_tail_scale(tensor.data, tensor.n_rows(), tensor.n_cols()));
  statistics.n_zero = n_codes[1];
  statistics.n_invalid_codes = n_codes[3];
  statistics.sum_of_squares = static_cast<double>(n_codes[0] + n_codes[2]) * scale * scale;
  statistics.add_scale(scale);
  return statistics;
}

Statistics four_level_statistics(const Tensor& tensor, I2sLayout layout) {
  Statistics statistics;
  statistics.n_weights = tensor.n_elements();
  const auto block = static_cast<uint64_t>(quant::i2s_block_size(layout));
  const uint64_t row_bytes = quant::i2s_row_bytes(layout, tensor.n_cols());
  std::vector<int8_t> factors(tensor.n_cols());
  for (uint64_t row = 0; row < tensor.n_rows(); ++row) {
    const auto bytes = tensor.data.subspan(row * row_bytes, row_bytes);
    quant::i2s_unpack_row(layout, bytes, factors);
    for (uint64_t first = 0; first < tensor.n_cols(); first += block) {
      const auto scale = static_cast<double>(quant::i2s_scale_at(layout, bytes, first, 1.0F));
      int64_t squares = 0;
      for (uint64_t col = first; col < std::min(first + block, tensor.n_cols()); ++col) {
        squares += factors[col] * factors[col];
      }
      statistics.sum_of_squares += static_cast<double>(squares) * scale * scale;
      statistics.add_scale(scale);
    }
  }
  return statistics;
}

class Checker {
 public:
  Checker(const View& view, const WeightRules* rules) : view_(view), rules_(rules) {}
  WeightReport run();

 private:
  void add(std::string_view tensor, const char* statistic, double value, const Envelope& envelope);
  void check_norm(const Tensor& tensor);
  void check_projection(const Tensor& tensor);
  void check_scales(const Tensor& tensor, const Statistics& statistics);

  const View& view_;
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

void Checker::check_norm(const Tensor& tensor) {
  ++report_.n_norms;
  const bool is_float = tensor.encoding == Encoding::kF32 || tensor.encoding == Encoding::kF16;
  if (!is_float) {
    add(tensor.name, "is_float", 0, {1, 1});
    return;
  }
  const Statistics statistics = float_statistics(tensor);
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

void Checker::check_scales(const Tensor& tensor, const Statistics& statistics) {
  const Envelope envelope = rules_ == nullptr ? Envelope{} : rules_->projection_scale;
  if (view_.i2s_layout() == I2sLayout::kBitnetCpp) {
    const bool is_finite = statistics.n_not_finite == 0;
    add(tensor.name, "scale", is_finite ? statistics.scale_max : std::nan(""), envelope);
    add(tensor.name, "zero_fraction", statistics.share(statistics.n_zero),
        rules_ == nullptr ? Envelope{} : rules_->zero_fraction);
    add(tensor.name, "invalid_codes", static_cast<double>(statistics.n_invalid_codes), {0, 0});
  } else if (view_.i2s_layout() == I2sLayout::kBitNet32F16) {
    add(tensor.name, "scale_min", statistics.scale_min, envelope);
    add(tensor.name, "scale_max", statistics.scale_max, envelope);
    add(tensor.name, "not_finite", static_cast<double>(statistics.n_not_finite), {0, 0});
  }
}

void Checker::check_projection(const Tensor& tensor) {
  ++report_.n_projections;
  if (!tensor.encoding) {
    add(tensor.name, "supported_encoding", 0, {1, 1});
    return;
  }
  const Envelope envelope = rules_ == nullptr ? Envelope{} : rules_->projection_rms;
  if (tensor.encoding != Encoding::kI2S) {
    const Statistics statistics = float_statistics(tensor);
    add(tensor.name, "rms", statistics.rms(), envelope);
    return;
  }
  const I2sLayout layout = *view_.i2s_layout();
  const Statistics statistics =
      layout == I2sLayout::kBitnetCpp ? ternary_statistics(tensor) : four_level_statistics(tensor, layout);
  check_scales(tensor, statistics);
  add(tensor.name, "rms", statistics.rms(), envelope);
}

bool is_projection(std::string_view name) {
  constexpr std::array kEndings = {".attn_q.weight",   ".attn_k.weight", ".attn_v.weight",  ".attn_output.weight",
                                   ".ffn_gate.weight", ".ffn_up.weight", ".ffn_down.weight"};
  return std::any_of(kEndings.begin(), kEndings.end(), [name](const char* ending) { return name.ends_with(ending); });
}

WeightReport Checker::run() {
  report_.rules_name = rules_ == nullptr ? "" : rules_->name;
  for (const Tensor& tensor : view_.tensors()) {
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

WeightReport check_weights(const View& view, const WeightRules* rules) { return Checker(view, rules).run(); }

}  // namespace tern::gguf
