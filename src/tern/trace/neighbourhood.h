// The part of a forward pass around one tensor: the layer that it is in, or what stands before or behind all layers,
// with what goes into it. It serves to look closely at one difference in a model whose tensors are too many to keep.
#pragma once

#include "tern/trace/stage.h"

namespace tern::trace {

class Neighbourhood {
 public:
  // In every pass, whichever `id` is of: keys and values of earlier ones go into later ones.
  Neighbourhood(const TensorId& id, int n_layers)
      : layer_(id.layer), n_layers_(n_layers), head_(is_behind_layers(id)) {}

  // Whether that layer is computed, and the output norm and the logits.
  bool has_layer(int layer) const { return layer == layer_; }
  bool has_head() const { return head_; }
  // Whether a tensor is in it, or goes into it.
  bool holds(const TensorId& id) const {
    if (id.layer < 0) {
      return is_behind_layers(id) ? head_ : layer_ <= 0 && !head_;
    }
    const int before = head_ ? n_layers_ - 1 : layer_ - 1;
    return id.layer == layer_ || (id.layer == before && id.stage == Stage::kOut);
  }

 private:
  static bool is_behind_layers(const TensorId& id) { return id.stage.row().place == StagePlace::kBehindLayers; }

  int layer_, n_layers_;
  bool head_;
};

}  // namespace tern::trace
