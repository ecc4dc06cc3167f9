#include "tern/estimate/rope_scaling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <numbers>
#include <optional>
#include <utility>

#include "tern/base/median.h"
#include "tern/estimate/numerics.h"

namespace tern::estimate {
namespace {

// The pairs in between, and what is around them.
struct Interpolated {
  double factor = 1;                                // of the slowest pairs
  size_t first_slow = 0;                            // the first pair that is slowed down by all of it
  std::vector<double> numbers, turns_in_one, kept;  // of each pair in between; kept: 1 where it is left alone
};

// Of pairs that are slowed down by about `near`: the fast ones turn further, and so tell it better.
double factor_of(const std::vector<double>& factors, const std::vector<double>& usual, double near) {
  constexpr double kAbout = 0.002;
  double sum = 0, weights = 0;
  for (size_t i = 0; i < factors.size(); ++i) {
    const double weight = std::abs(factors[i] / near - 1) < kAbout ? usual[i] * usual[i] : 0;
    sum += weight * factors[i];
    weights += weight;
  }
  return weights > 0 ? sum / weights : near;
}

Interpolated interpolated(const std::vector<double>& usual, const std::vector<double>& measured) {
  constexpr double kAt = 0.002;
  std::vector<double> factors(usual.size());
  std::transform(usual.begin(), usual.end(), measured.begin(), factors.begin(), std::divides<>());
  const auto n_slowest = static_cast<std::ptrdiff_t>((factors.size() + 3) / 4);
  Interpolated pairs;
  pairs.factor = factor_of(factors, usual, median({factors.end() - n_slowest, factors.end()}));
  pairs.first_slow = usual.size();
  for (size_t i = 0; i < usual.size() && pairs.factor != 1; ++i) {
    const double share = (1 / factors[i] - 1 / pairs.factor) / (1 - 1 / pairs.factor);
    if (share <= kAt) {
      pairs.first_slow = std::min(pairs.first_slow, i);
    } else if (share < 1 - kAt) {
      pairs.turns_in_one.push_back(usual[i] / (2 * std::numbers::pi));
      pairs.numbers.push_back(static_cast<double>(i));
      pairs.kept.push_back(share);
    }
  }
  return pairs;
}

// kept = (context * turns - low) / (high - low). low is 1 in every model; one pair alone does not tell high, which
// is 4.
std::optional<Llama3Scaling> over_turns(const Interpolated& pairs) {
  if (pairs.kept.size() == 1) {
    Llama3Scaling scaling{pairs.factor};
    scaling.context = (pairs.kept[0] * (scaling.high - scaling.low) + scaling.low) / pairs.turns_in_one[0];
    return scaling;
  }
  const Line line = fit_line(pairs.turns_in_one, pairs.kept);
  if (!(line.slope > 0 && line.intercept < 0)) {
    return std::nullopt;
  }
  const double span = -1 / line.intercept;
  return Llama3Scaling{pairs.factor, 1, 1 + span, line.slope * span};
}

// kept = 1 - (number - first) / (last - first)
std::optional<YarnScaling> over_numbers(const Interpolated& pairs) {
  if (pairs.kept.empty() && pairs.first_slow > 0) {
    const auto last = static_cast<double>(pairs.first_slow);
    return YarnScaling{pairs.factor, last - 1, last};
  }
  const Line line = fit_line(pairs.numbers, pairs.kept);
  if (!(line.slope < 0)) {
    return std::nullopt;
  }
  return YarnScaling{pairs.factor, std::nearbyint((1 - line.intercept) / line.slope),
                     std::nearbyint(-line.intercept / line.slope)};
}

// `scaling` with these of its numbers nearest to what was turned, in few digits.
template <class Scaling>
Scaling fitted(Scaling scaling, std::initializer_list<double Scaling::*> numbers, const Turns& turns,
               const std::vector<double>& usual) {
  const std::vector<double> positions = turns.positions();
  const auto misfit_with = [&](double Scaling::* number) {
    return [&, number](double value) {
      Scaling other = scaling;
      other.*number = value;
      return turns.misfit(scaled_frequencies(usual, other), positions);
    };
  };
  for (const double step : {1e-4, 1e-5, 1e-6}) {
    for (const auto number : numbers) {
      scaling.*number = nearest(scaling.*number, step, misfit_with(number));
    }
  }
  for (const auto number : numbers) {
    scaling.*number = shortest_that_fits(scaling.*number, misfit_with(number));
  }
  return scaling;
}

}  // namespace

double nearest(double number, double step, const std::function<double(double)>& misfit) {
  std::vector<double> near;
  for (int i = -10; i <= 10; ++i) {
    near.push_back(number + step * i * (1 + std::abs(number)));
  }
  return argmin(misfit, near);
}

std::vector<MeasuredScaling> measured_scalings(const Turns& turns, const std::vector<double>& usual,
                                               const std::vector<double>& measured) {
  std::vector<MeasuredScaling> scalings;
  const Interpolated pairs = interpolated(usual, measured);
  const auto add = [&](const char* type, double factor, Json parameters, const std::string& where,
                       std::vector<double> frequencies) {
    parameters.update({{"type", type}, {"factor", factor}, {"expected", 1.0}});
    scalings.push_back({std::move(parameters),
                        fmt::format("RoPE is scaled as {} does {}, by {:.6g}", type, where, factor),
                        std::move(frequencies)});
  };
  if (auto llama3 = over_turns(pairs)) {
    const bool has_one = pairs.kept.size() == 1;
    *llama3 = has_one ? fitted(*llama3, {&Llama3Scaling::context, &Llama3Scaling::factor}, turns, usual)
                      : fitted(*llama3, {&Llama3Scaling::context, &Llama3Scaling::high, &Llama3Scaling::factor}, turns,
                               usual);
    add("llama3", llama3->factor, {{"high_frequency_factor", llama3->high}, {"context", llama3->context}},
        fmt::format("for a context of {:.0f}", llama3->context), scaled_frequencies(usual, *llama3));
  }
  if (auto yarn = over_numbers(pairs)) {
    *yarn = fitted(*yarn, {&YarnScaling::factor}, turns, usual);
    add("yarn", yarn->factor, {{"first_pair", yarn->first_pair}, {"last_pair", yarn->last_pair}},
        fmt::format("from pair {:.0f} to {:.0f}", yarn->first_pair, yarn->last_pair), scaled_frequencies(usual, *yarn));
  }
  return scalings;
}

}  // namespace tern::estimate
