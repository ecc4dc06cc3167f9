// The oracle's whole pass with some stages computed otherwise: what a proposal does to all that is computed behind it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "tern/estimate/estimators.h"

namespace tern::estimate {

struct PassPlan {
  std::vector<int32_t> prompt;
  std::vector<int32_t> fed;  // of the decode steps
  size_t ubatch = 512;       // prompt tokens evaluated at once, at least 1
  // Only the neighbourhood of this tensor, from what `given` says goes into it.
  std::optional<trace::TensorId> around = std::nullopt;
  // What is executed before this tensor is as `given` says, where it says anything of it.
  std::optional<trace::TensorId> known_before = std::nullopt;
  Lookup given = {};
};

using RmsOf = std::map<trace::TensorId, double>;  // of each tensor
struct SubstitutedRms {
  RmsOf rms;
  std::optional<trace::TensorId> first_changed;  // by the proposal
};
// The RMS of a pass in which `proposal` replaces the stages of these kinds; null: the plain pass.
// Errors: those of Oracle::load() and Oracle::evaluate().
Result<SubstitutedRms> rms_with(const Proposal* proposal, const std::vector<trace::StageKind>& kinds,
                                const PassPlan& plan, const oracle::Steps& steps);

}  // namespace tern::estimate
