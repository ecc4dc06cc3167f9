// The median of repeated measurements.
#pragma once

#include <algorithm>
#include <vector>

#include "tern/base/check.h"

namespace tern {

// The middle one, or the mean of the middle two. At least one value.
inline double median(std::vector<double> values) {
  TERN_CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace tern
