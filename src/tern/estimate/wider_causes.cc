#include "tern/estimate/wider_causes.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "tern/estimate/numerics.h"
#include "tern/estimate/product.h"
#include "tern/estimate/site.h"
#include "tern/estimate/weight_map.h"

namespace tern::estimate {
namespace {

using trace::StageKind;
using trace::TensorId;

constexpr KeptScale kKeptScales[] = {KeptScale::kOfTheCodes, KeptScale::kOfThePlace};

// Wrong norms and projections, one of each stage and layer.
std::vector<TensorId> wrong_weights(Recomputation& again) {
  std::map<std::pair<int, trace::Stage>, TensorId> found;
  for (const TensorId& id : again.wrong_ids()) {
    const bool has_weight = id.stage.kind() == StageKind::kNorm || id.stage.kind() == StageKind::kProjection;
    if (has_weight && again.has_facts(id)) {
      found.emplace(std::pair(id.layer, id.stage), id);
    }
  }
  std::vector<TensorId> ids;
  for (const auto& [place, id] : found) {
    ids.push_back(id);
  }
  return ids;
}

class WiderCauses {
 public:
  WiderCauses(Recomputation& again, const oracle::Steps& steps)
      : again_(again), steps_(steps), wrong_(wrong_weights(again)) {}

  std::vector<Proposal> all() {
    for (const KeptScale scale : kKeptScales) {
      for (const bool matrices_only : {false, true}) {
        propose_layer_order(matrices_only, scale);
      }
      propose_map(StageKind::kProjection, scale);
    }
    propose_map(StageKind::kNorm, KeptScale::kOfTheCodes);
    return std::move(proposals_);
  }

 private:
  bool is_read(const TensorId& id, const gguf::Tensor* other, KeptScale scale) {
    const StageFacts& facts = again_.facts(id);
    if (other == nullptr || other == weight_of_stage(facts) || !facts.is()) {
      return false;
    }
    const bool is_product = id.stage.kind() == StageKind::kProjection;
    if (is_product ? !may_have_read(facts, *other, scale) : !may_be_norm_of(facts, *other)) {
      return false;
    }
    Proposal one;
    one.recompute = [&](const StageFacts& there) { return with_weight(there, *other, scale); };
    return again_.mends(one, id);
  }

  // By the first token.
  static bool may_be_norm_of(const StageFacts& facts, const gguf::Tensor& other) {
    constexpr double kLike = 1e-2;
    const auto x = input_of_stage(facts);
    if (!x || other.n_rows() != 1 || other.n_cols() != x->n_features) {
      return false;
    }
    const Matrix y = facts.steps().norm(first_tokens(*x, 1), facts.steps().weight_row(other, 0),
                                        facts.steps().hyperparameters().norm_epsilon);
    return relative_error(y, first_tokens(*facts.is(), 1)) < kLike;
  }

  // The layer whose weights two stages of `layer` read: a norm and a projection, or two projections.
  std::optional<int> layer_read_by(int layer, bool matrices_only, KeptScale scale) {
    std::vector<TensorId> pair;
    for (const StageKind kind : {matrices_only ? StageKind::kProjection : StageKind::kNorm, StageKind::kProjection}) {
      const auto id = std::find_if(wrong_.begin(), wrong_.end(), [&](const TensorId& wrong) {
        return wrong.layer == layer && wrong.stage.kind() == kind && (pair.empty() || wrong != pair.front());
      });
      if (id == wrong_.end()) {
        return std::nullopt;
      }
      pair.push_back(*id);
    }
    for (int other = 0; other < steps_.hyperparameters().n_layers; ++other) {
      if (other != layer && std::all_of(pair.begin(), pair.end(), [&](const TensorId& id) {
            return is_read(id, steps_.weight_of(id.stage, other), scale);
          })) {
        return other;
      }
    }
    return std::nullopt;
  }

  void propose_layer_order(bool matrices_only, KeptScale scale) {
    LayerOrder order{std::vector<int>(static_cast<size_t>(steps_.hyperparameters().n_layers)), matrices_only, scale};
    std::iota(order.reads.begin(), order.reads.end(), 0);
    bool found = false;
    for (int layer = 0; layer < steps_.hyperparameters().n_layers; ++layer) {
      if (const auto other = layer_read_by(layer, matrices_only, scale)) {
        order.reads[static_cast<size_t>(layer)] = *other;
        found = true;
      }
    }
    if (found) {
      proposals_.push_back(order.proposal());
    }
  }

  void propose_map(StageKind kind, KeptScale scale) {
    WeightMap map;
    for (const TensorId& id : wrong_) {
      if (id.stage.kind() != kind) {
        continue;
      }
      const gguf::Tensor* const own = weight_of_stage(again_.facts(id));
      const auto at = own == nullptr ? std::nullopt : layer_tensor(own->name);
      for (const gguf::Tensor& other : steps_.view().tensors()) {
        const auto theirs = layer_tensor(other.name);
        // Of matrices, a stage and a layer that are both others are found one by one.
        const bool may_be =
            kind == StageKind::kNorm || (at && theirs && (at->stem == theirs->stem || at->layer == theirs->layer));
        if (own != nullptr && may_be && is_read(id, &other, scale)) {
          map.emplace(own->name, other.name);
          break;
        }
      }
    }
    if (map.size() > 1) {
      proposals_.push_back(weight_map_proposal(map, kind, scale, scale == KeptScale::kOfTheCodes ? 0.8 : 0.75));
    }
  }

  Recomputation& again_;
  const oracle::Steps& steps_;
  std::vector<TensorId> wrong_;
  std::vector<Proposal> proposals_;
};

}  // namespace

std::vector<Proposal> wider_causes(Recomputation& again, const oracle::Steps& steps) {
  return WiderCauses(again, steps).all();
}

}  // namespace tern::estimate
