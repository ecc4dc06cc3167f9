// The number between the outputs of two matrices that have rows in common, whichever rows these are.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "tern/oracle/matrix.h"

namespace tern::estimate {

// Of these columns of `is`, some are columns of `outputs` times one number: that number. The columns stand side by side
// in any order, and each token is one equation. `tolerance`: how far a value of `is` may be off. nullopt where no
// number is common to more columns than chance explains.
std::optional<double> common_ratio(const oracle::Matrix& is, std::span<const size_t> columns,
                                   const oracle::Matrix& outputs, double tolerance);

}  // namespace tern::estimate
