// Few unknown numbers from many equations.
#pragma once

#include <span>
#include <vector>

namespace tern::estimate {

// The factors with which the terms, all of the size of `to`, add up to what is nearest to it; none where the terms do
// not determine them.
std::vector<double> least_squares(const std::vector<std::span<const double>>& terms, std::span<const double> to);

}  // namespace tern::estimate
