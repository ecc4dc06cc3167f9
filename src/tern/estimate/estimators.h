// One estimator for each kind of stage. An estimator finds transformations that turn what a stage should have produced
// into what it did produce, with parameters measured from the data. It only proposes: a proposal is checked by
// recomputing the stage with it (explain.h).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tern/base/json.h"
#include "tern/estimate/stage_facts.h"

namespace tern::estimate {

// One transformation that could be the cause.
struct Proposal {
  std::string id;    // as in outcome::Cause: "weight_scale"
  Json parameters;   // what was measured, for people and programs: {"factor": 166.0, "expected": 1.0}
  std::string says;  // the cause in one line: "the scale of blk.2.ffn_up.weight is divided by instead of multiplied"
  // What the stage produces with this transformation, from the same inputs: of facts.should()'s shape. Called at most
  // once for each tensor that is explained, and also on other tensors of the same kind of stage (other layers, other
  // passes), since a cause may hold everywhere; nullopt where it does not apply to that tensor.
  std::function<std::optional<Matrix>(const StageFacts& facts)> recompute;
  double simplicity = 1;  // of two that explain the data equally well, the greater one is given
  // The stage that does it, where that is one before the stage that is explained: a rotation that shows in the scores.
  std::optional<trace::Stage> place = std::nullopt;
  // Kinds of stages that it changes besides that of the stage that is explained: a head map that keys and values share.
  std::vector<trace::StageKind> also = {};
  // So many times as much as to the right stage, rounding does to this one.
  double amplifies = 1;
  // The parameter that was solved from an RMS, which other numbers may explain as well; empty: none. `with_number`: the
  // same proposal with another one.
  std::string number = {};
  std::function<Proposal(double number)> with_number = {};
};

// `facts.is()` may be absent: then only facts.rms() is there, parameters are solved from it, and the discrete choices
// (another layer's weight, another function) are all proposed.
using Estimator = std::vector<Proposal> (*)(const StageFacts& facts);

std::vector<Proposal> estimate_embeddings(const StageFacts& facts);
std::vector<Proposal> estimate_norm(const StageFacts& facts);
std::vector<Proposal> estimate_projection(const StageFacts& facts);
std::vector<Proposal> estimate_rope(const StageFacts& facts);
std::vector<Proposal> estimate_scores(const StageFacts& facts);
std::vector<Proposal> estimate_mixing(const StageFacts& facts);
std::vector<Proposal> estimate_activation(const StageFacts& facts);
std::vector<Proposal> estimate_residual(const StageFacts& facts);
std::vector<Proposal> estimate_head(const StageFacts& facts);

// The estimator of a kind of stage: one table, a row per trace::StageKind. Null for a stage of which nothing is known.
Estimator estimator_of(trace::StageKind kind);

}  // namespace tern::estimate
