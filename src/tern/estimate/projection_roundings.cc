// Activations that are rounded by another rule than the one that the weight's format demands.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "tern/estimate/numerics.h"
#include "tern/estimate/product_sample.h"
#include "tern/quant/format.h"

namespace tern::estimate {
namespace {

// A way to round activations.
using Rounding = std::function<Matrix(const Matrix& x)>;

// What int8 formats scale by: no less than 1e-5.
double largest_of(std::span<const double> values) {
  double largest = 1e-5;
  for (const double value : values) {
    largest = std::max(largest, std::abs(value));
  }
  return largest;
}

Matrix rounded_to_levels(const Matrix& x, double levels, bool whole_batch) {
  Matrix y = x;
  const double of_all = largest_of(x.values);
  for (size_t t = 0; t < y.n_tokens; ++t) {
    const double largest = whole_batch ? of_all : largest_of(x.row(t));
    for (double& value : y.row(t)) {
      value = std::nearbyint(value * (levels / largest)) * (largest / levels);
    }
  }
  return y;
}

// How many steps a value is: the largest one may come out below 127, which cutting off makes 126.
using InSteps = double (*)(double value, double largest);
constexpr InSteps kInSteps[] = {
    [](double value, double largest) { return value * (127 / largest); },
    [](double value, double largest) { return value / (largest / 127); },
    [](double value, double largest) {
      return static_cast<double>(static_cast<float>(value) * (127 / static_cast<float>(largest)));
    },
    [](double value, double largest) {
      return static_cast<double>(static_cast<float>(value) / (static_cast<float>(largest) / 127));
    },
};

Matrix truncated(const Matrix& x, InSteps in_steps) {
  Matrix y = x;
  for (size_t t = 0; t < y.n_tokens; ++t) {
    const double largest = largest_of(x.row(t));
    for (double& value : y.row(t)) {
      value = std::trunc(in_steps(value, largest)) * (largest / 127);
    }
  }
  return y;
}

void propose_rounding(const Product& product, Json parameters, const std::string& says, double simplicity,
                      const Rounding& rounding, Proposals& proposals) {
  proposals.push_back(propose(
      "activation_rounding", std::move(parameters),
      fmt::format("the activations in front of {} are {}", product.weight->name, says), simplicity,
      [rounding, format = product.weight->format](const Product& at, const StageFacts&) -> std::optional<Matrix> {
        return at.weight->format == format ? std::optional(multiply(rounding(at.x), *at.weight)) : std::nullopt;
      }));
}

}  // namespace

void propose_roundings(const StageFacts& facts, const Product& product, Proposals& proposals) {
  if (facts.is() && relative_error(*facts.is(), facts.should()) > 0.5) {
    return;
  }
  const bool is_int8 = product.weight->format->activations == quant::kI2sBitnetCpp.activations;
  const auto sample = facts.is() ? std::optional(sample_of(facts, product, 16, 4)) : std::nullopt;
  const double error = sample ? relative_error(sample->should, sample->is) : 0;
  const auto is_better = [&](const Rounding& rounding, const Matrix& x) {
    const Matrix y = multiply_rows(rounding(x), *product.weight, sample->rows);
    return relative_error(first_tokens(y, sample->is.n_tokens), sample->is) < kMuchBetter * error;
  };
  const auto may_be = [&](const Rounding& rounding) { return !sample || is_better(rounding, sample->x); };
  const auto as_it_is = [](const Matrix& x) { return x; };
  if (may_be(as_it_is)) {
    propose_rounding(product, {{"rounding", "none"}}, "not rounded", 0.9, as_it_is, proposals);
  }
  const auto batch = [](const Matrix& x) { return rounded_to_levels(x, 127, true); };
  if (product.x.n_tokens > 1 && (!sample || is_better(batch, product.x))) {
    propose_rounding(product, {{"rounding", "one scale for the batch"}},
                     "rounded to int8 with one scale for the whole batch", 0.9, batch, proposals);
  }
  for (const InSteps in_steps : kInSteps) {
    const auto cut = [in_steps](const Matrix& x) { return truncated(x, in_steps); };
    if (may_be(cut)) {
      propose_rounding(product, {{"rounding", "truncated"}}, "cut off instead of rounded to the nearest step", 0.9, cut,
                       proposals);
    }
  }
  for (int levels = 1; sample && levels <= 1024; ++levels) {
    const auto rounding = [levels](const Matrix& x) { return rounded_to_levels(x, levels, false); };
    if ((!is_int8 || levels != 127) && may_be(rounding)) {
      propose_rounding(product, {{"levels", levels}, {"expected", is_int8 ? Json(127) : Json("none")}},
                       fmt::format("rounded to {} steps on each side of zero", levels), kNumberMeasured, rounding,
                       proposals);
      break;
    }
  }
}

}  // namespace tern::estimate
