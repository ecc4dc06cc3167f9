// Ways in which attention scores are got wrong, as proposals.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tern/estimate/estimators.h"
#include "tern/estimate/score_rule.h"

namespace tern::estimate {

using ScoreInputsOf = std::function<std::optional<ScoreInputs>(const StageFacts& facts)>;

// A proposal for the scores of a layer. Its recompute() takes the facts of any stage of that layer. `inputs`: what the
// scores are made of; null: what was recorded.
struct ScoreFault {
  Proposal proposal;
  ScoreRule rule;
  ScoreInputsOf inputs;
  bool of_values_too = false;  // heads and slots of the values are the rule's as well
};
ScoreFault score_fault(std::string id, Json parameters, std::string says, ScoreRule rule, double simplicity = 1,
                       ScoreInputsOf inputs = nullptr);

// The same fault in the values, too: a head map or a cache fault that keys and values share. Its recompute() also takes
// the facts of the mixing stage.
ScoreFault with_values_too(const ScoreFault& fault);

ScoreFault scale_fault(const oracle::Hyperparameters& hp, double scale);
ScoreFault soft_cap_fault(const oracle::Hyperparameters& hp, double cap);
// Each token attends to `offset` keys more than itself and those before it.
ScoreFault mask_offset_fault(const oracle::Hyperparameters& hp, int offset);
// Each token attends to the last `window` keys, itself included.
ScoreFault window_fault(const oracle::Hyperparameters& hp, size_t window);
// RoPE by another rule, as the scores show it: of queries and keys, or of one of them.
enum class Turned { kBoth, kQueries, kKeys };
std::optional<ScoreInputs> score_inputs_turned(const StageFacts& facts, const RopeRule& rule, Turned which);
ScoreFault rope_fault(const oracle::Hyperparameters& hp, RopeFault fault, Turned which);

std::vector<ScoreFault> usual_mask_faults(const oracle::Hyperparameters& hp);
// Usual faults of heads, of caches, and of RoPE that is left out. `n_keys`: the number of keys.
std::vector<ScoreFault> usual_score_faults(const oracle::Hyperparameters& hp, size_t n_keys, bool is_decode);

}  // namespace tern::estimate
