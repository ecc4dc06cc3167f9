// What several estimators need: how well a proposal fits, roots and minima in one unknown, and round numbers.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "tern/estimate/estimators.h"

namespace tern::estimate {

// Proposal::simplicity, by what was taken from the data.
inline constexpr double kNothingMeasured = 1.0;
inline constexpr double kNumberMeasured = 0.6;
inline constexpr double kTableMeasured = 0.3;
// One number that would explain any RMS.
inline constexpr double kFitsAnything = 0.1;
// Of what would have shown in an earlier pass: the first tensor that is wrong is the one that is explained.
inline constexpr double kNotBefore = 0.5;

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

// These columns of a matrix, in their order.
Matrix columns_of(const Matrix& matrix, std::span<const uint64_t> columns);

// Each value times a number.
Matrix multiplied(Matrix x, double factor);

double rms_of(const Matrix& x);

// `x` rounded to the type of that name, to nearest, ties to even.
double as_bfloat16(double x);
double as_float16(double x);
// The same, but cut off towards zero.
double cut_to_bfloat16(double x);
double cut_to_float16(double x);

// |a - b|_2 / |b|_2; infinite where the shapes differ or the figure is not finite.
double relative_error(const Matrix& a, const Matrix& b);

// How far `y` is from what the side computed: the relative error, or of the RMS alone where there are no values.
// Infinite where neither is known.
double misfit(const StageFacts& facts, const Matrix& y);

// Whether all of what the side computed and should have computed is finite, so that it can be measured.
bool measurable(const StageFacts& facts);

// The proposals that explain at least four fifths of the error, the best first; none for a side that is right.
std::vector<Proposal> explaining(std::vector<Proposal> proposals, const StageFacts& facts);

// The number with the fewest significant digits that is no further than `uncertainty` from `value`.
double shortest_within(double value, double uncertainty);

// The number with the fewest significant digits, of at most nine, near `value` for which `f` is no greater than for
// `value` itself by more than a hundredth; `value` where there is none.
double shortest_that_fits(double value, const std::function<double(double)>& f);

// `n` numbers from `low` to `high`, both above 0, each the same multiple of the one before. n >= 2.
std::vector<double> geometric_grid(double low, double high, size_t n);

// Zeros of `f`, one between each two neighbours of the ascending `grid` where its sign changes.
std::vector<double> roots(const std::function<double(double)>& f, std::span<const double> grid);

// Where `f` is least: at the best number of the ascending `grid`, refined between its neighbours.
double argmin(const std::function<double(double)>& f, std::span<const double> grid);

// slope and intercept of the least squares line; weights may be empty. `slope` is 0 where all x are one.
struct Line {
  double slope = 0, intercept = 0;
};
Line fit_line(std::span<const double> x, std::span<const double> y, std::span<const double> weights = {});

}  // namespace tern::estimate
