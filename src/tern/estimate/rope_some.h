// RoPE that is wrong from some position on, or in some heads.
#pragma once

#include <vector>

#include "tern/estimate/estimators.h"

namespace tern::estimate {

// `x`: what went into the stage, of the shape of what the side computed; `facts` has that.
std::vector<Proposal> rope_of_some(const StageFacts& facts, const Matrix& x);

}  // namespace tern::estimate
