// Where a stage stands in the model: its weight in the file, and what goes into it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "tern/estimate/stage_facts.h"

namespace tern::estimate {

// "blk.3.attn_norm.weight" is layer 3 and the stem "attn_norm.weight".
struct LayerTensor {
  int layer = 0;
  std::string stem;
  // The tensor of another stem in this layer.
  std::string sibling(std::string_view other_stem) const;
};
// nullopt for a tensor that is of no layer.
std::optional<LayerTensor> layer_tensor(std::string_view name);

// The tensor of the file that the stage's row in the table names; null where the file has none.
const gguf::Tensor* weight_of_stage(const StageFacts& facts);

// What a stage of one input is computed from: the stage that its row in the table names, or what went into the layer.
// nullopt where it is not recorded.
std::optional<Matrix> input_of_stage(const StageFacts& facts);

}  // namespace tern::estimate
