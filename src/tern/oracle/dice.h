// Draws that are the same on every machine for a seed.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <random>

namespace tern::oracle {

class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}

  // 0 to n - 1; n at least 1.
  size_t below(size_t n) { return static_cast<size_t>(random_() % n); }
  bool one_in(size_t n) { return below(n) == 0; }
  // In [0, 1).
  double uniform() { return static_cast<double>(random_() >> 11) * 0x1p-53; }
  // Uniform in the logarithm: as many between 1 and 2 as between 10 and 20.
  double log_uniform(double low, double high) { return low * std::pow(high / low, uniform()); }
  template <class Range>
  const auto& pick(const Range& range) {
    return *std::next(std::begin(range), static_cast<std::ptrdiff_t>(below(std::size(range))));
  }

 private:
  std::mt19937_64 random_;
};

}  // namespace tern::oracle
