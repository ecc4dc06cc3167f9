// The one place where two tensors are measured against each other. All sums in double, in index order.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace tern::compare {

struct Metrics {
  uint64_t n = 0;             // elements
  uint64_t n_different = 0;   // elements whose bits differ (+0 and -0 count as equal)
  uint64_t n_non_finite = 0;  // elements that are NaN or infinite on either side; left out of everything below
  // Absent where either side is all zeros (the angle is undefined): never a made-up 0 or 1.
  std::optional<double> cosine;
  double max_abs = 0;                    // largest |a - b|
  uint64_t max_abs_index = 0;            // its flat index
  double rms_error = 0;                  // sqrt(mean (a - b)^2)
  std::optional<double> relative_error;  // |a - b|_2 / |b|_2; absent where b is all zeros
};

// `a` the subject's values, `b` the reference's; equal lengths.
Metrics measure(std::span<const float> a, std::span<const float> b);

}  // namespace tern::compare
