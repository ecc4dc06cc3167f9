// Causes that explain several stages together, measured from all stages that are wrong by themselves.
#pragma once

#include <vector>

#include "tern/estimate/recomputation.h"

namespace tern::estimate {

// Layers whose norms and matrices, or matrices alone, are those of another layer; norms, or matrices, that read the
// weights of others. A single weight is no matter of several stages.
std::vector<Proposal> wider_causes(Recomputation& again, const oracle::Steps& steps);

}  // namespace tern::estimate
