// One cause for several stages that read weights of other stages or layers: which tensor of the file stands in the
// place of which.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tern/estimate/estimators.h"

namespace tern::estimate {

// Whether the codes of a matrix in the place of another meet the scale of their own, or that of the replaced one.
enum class KeptScale { kOfTheCodes, kOfThePlace };

// What a norm or projection computes with that weight in the place of its own; nullopt where it does not fit there.
std::optional<Matrix> with_weight(const StageFacts& facts, const gguf::Tensor& other, KeptScale scale);
// Whether a projection may have read that matrix, by a look at few rows and tokens. Only with values.
bool may_have_read(const StageFacts& facts, const gguf::Tensor& other, KeptScale scale);

// By the weights' names: what is read in their place. Those that are right are left out.
using WeightMap = std::map<std::string, std::string>;
// Two tensors or more, of norms or of matrices: `norm_weight` or `weights_swapped`, with the map and what it has in
// common: an offset between layers, or stages that change places.
Proposal weight_map_proposal(const WeightMap& map, trace::StageKind kind, KeptScale scale, double simplicity);
// As they are usually got wrong in all layers, the stage of the facts among them: it changes places with another of its
// kind, or every layer reads the weights of the next layer or of the one before.
std::vector<Proposal> usual_weight_maps(const StageFacts& facts);

// Whose weights each layer reads.
struct LayerOrder {
  std::vector<int> reads;      // by layer
  bool matrices_only = false;  // the norms are those of the layer itself
  KeptScale scale = KeptScale::kOfTheCodes;

  Proposal proposal() const;
};

}  // namespace tern::estimate
