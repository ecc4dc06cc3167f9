// RoPE scaled for a longer context, read off the frequency of each pair: fast pairs are left alone, slow ones are
// slowed down by one factor, and those in between are interpolated.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tern/base/json.h"
#include "tern/estimate/rope_turns.h"

namespace tern::estimate {

struct MeasuredScaling {
  Json parameters;
  std::string says;
  std::vector<double> frequencies;
};

// The interpolations, over the turns that a pair makes and over its number, that come near the measured frequencies.
// `usual`: of the textbook; `measured`: of the same pairs, from `turns`.
std::vector<MeasuredScaling> measured_scalings(const Turns& turns, const std::vector<double>& usual,
                                               const std::vector<double>& measured);

// Where `misfit` is least within ten steps of a number, each relative to its size.
double nearest(double number, double step, const std::function<double(double)>& misfit);

}  // namespace tern::estimate
