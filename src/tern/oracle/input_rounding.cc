// How the oracle rounds activations in front of weights whose format demands it. Rounding that a model is trained with,
// or that every engine does in front of such weights, is part of what is to be computed, and not an error of an engine.
#include <algorithm>
#include <cmath>
#include <iterator>

#include "tern/base/check.h"
#include "tern/oracle/oracle.h"
#include "tern/quant/f16.h"
#include "tern/quant/half.h"
#include "tern/quant/i8s.h"
#include "tern/quant/q8_0.h"
#include "tern/quant/q8_k.h"

namespace tern::oracle {

// The rules of quant/ that the oracle follows in its own arithmetic.
struct Oracle::InputRule {
  const quant::ActivationRule* rule;
  std::vector<double> (Oracle::*prepare)(Matrix& x) const;
};

const Oracle::InputRule* Oracle::input_rule(const quant::Format& format) {
  static constexpr InputRule kRules[] = {
      {nullptr, &Oracle::leave_as_it_is},
      {&quant::f16::kActivations, &Oracle::leave_as_it_is},  // engines may, and need not, do it
      {&quant::i8s::kActivations, &Oracle::round_to_int8},
      {&quant::q8_0::kActivations, &Oracle::round_to_q8_0},
      {&quant::q8_k::kActivations, &Oracle::round_to_q8_k},
  };
  const auto* const found = std::find_if(std::begin(kRules), std::end(kRules),
                                         [&](const InputRule& rule) { return rule.rule == format.activations; });
  return found == std::end(kRules) ? nullptr : found;
}

bool Oracle::can_compute(const quant::Format& format) { return can_decode(format) && input_rule(format) != nullptr; }

std::vector<double> Oracle::prepare_input(Matrix& x, const gguf::Tensor& weight) const {
  const InputRule* rule = input_rule(*weight.format);
  TERN_CHECK(rule != nullptr);
  return (this->*rule->prepare)(x);
}

std::vector<double> Oracle::leave_as_it_is(Matrix& x) const { return std::vector<double>(x.n_tokens, 1.0); }

std::vector<double> Oracle::round_to_int8(Matrix& x) const {
  std::vector<double> units;
  for (size_t t = 0; t < x.n_tokens; ++t) {
    double largest = 1e-5;
    for (const double value : x.row(t)) {
      largest = std::max(largest, std::abs(value));
    }
    for (double& value : x.row(t)) {
      value = std::clamp(round_to_step(value * (127.0 / largest)), -128.0, 127.0);
    }
    units.push_back(largest / 127.0);
  }
  return units;
}

// In blocks of 32, whose scale is kept in float16.
std::vector<double> Oracle::round_to_q8_0(Matrix& x) const {
  for (size_t first = 0; first < x.values.size(); first += 32) {
    const auto block = std::span(x.values).subspan(first, 32);
    double largest = 0;
    for (const double value : block) {
      largest = std::max(largest, std::abs(value));
    }
    const auto step =
        static_cast<double>(quant::half_to_float(quant::float_to_half(static_cast<float>(largest / 127))));
    for (double& value : block) {
      value = largest == 0 ? 0 : round_to_step(value * (127.0 / largest)) * step;
    }
  }
  return leave_as_it_is(x);
}

// The value of the largest magnitude in each block of 256 becomes -127, whatever its sign.
std::vector<double> Oracle::round_to_q8_k(Matrix& x) const {
  for (size_t first = 0; first < x.values.size(); first += 256) {
    const auto block = std::span(x.values).subspan(first, 256);
    const double largest =
        *std::max_element(block.begin(), block.end(), [](double a, double b) { return std::abs(a) < std::abs(b); });
    const double per_unit = largest == 0 ? 0 : -127.0 / largest;
    for (double& value : block) {
      value = largest == 0 ? 0 : std::min(127.0, round_to_step(value * per_unit)) / per_unit;
    }
  }
  return leave_as_it_is(x);
}

double Oracle::round_to_step(double steps) const { return std::nearbyint(steps); }

}  // namespace tern::oracle
