// How far each pair of features was turned from what went into RoPE to what came out of it.
#pragma once

#include <vector>

#include "tern/estimate/rope_rule.h"

namespace tern::estimate {

// The turns and lengths that the pairs of a layout got.
struct Turns {
  RopeLayout layout;
  std::vector<RopeToken> tokens;
  // [tokens, pairs]. As complex numbers, the turned pair times the conjugate of the pair, summed over the groups: its
  // argument is the angle, and its absolute value the weight of that angle.
  std::vector<double> angles, weights;
  double residual = 0;   // what is no rotation, over the length of the output
  double magnitude = 1;  // of the pairs, behind over before

  size_t n_pairs() const { return layout.width / 2; }
  double angle(size_t t, size_t i) const { return angles[t * n_pairs() + i]; }
  double weight(size_t t, size_t i) const { return weights[t * n_pairs() + i]; }

  // How far angles of frequency times position are from these, relative to what was turned: about the relative error
  // of the stage.
  double misfit(const std::vector<double>& frequencies, const std::vector<double>& positions) const;
  Turns only(const std::vector<size_t>& chosen) const;  // some tokens of them
  std::vector<double> positions() const;
};

Turns turns_of(const Matrix& x, const Matrix& y, const RopeLayout& layout, const std::vector<RopeToken>& tokens);

// The base whose frequencies fit best; a round number where that fits as well.
double nearest_base(const Turns& turns);
// Where each token would have to stand for these frequencies.
std::vector<double> measured_positions(const Turns& turns, const std::vector<double>& frequencies);

// Enough tokens to tell rules apart: the first ones, between which no turn is missed, and ever fewer behind them.
std::vector<size_t> telling_tokens(size_t n_tokens);

// Ways to pair features that come into question where RoPE made `y` of `x`; both of the same shape.
std::vector<RopeLayout> layouts(const Matrix& x, const Matrix& y, const RopeLayout& textbook);

}  // namespace tern::estimate
