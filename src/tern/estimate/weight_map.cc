#include "tern/estimate/weight_map.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "tern/estimate/numerics.h"
#include "tern/estimate/product.h"
#include "tern/estimate/site.h"

namespace tern::estimate {
namespace {

using trace::StageKind;

// What the outputs of `other` are multiplied with.
double scale_factor(const StageFacts& facts, const gguf::Tensor& own, const gguf::Tensor& other, KeptScale scale) {
  return scale == KeptScale::kOfThePlace && own.format == other.format
             ? facts.steps().weight_scale(own) / facts.steps().weight_scale(other)
             : 1;
}

std::string stage_name(const LayerTensor& tensor) { return tensor.stem.substr(0, tensor.stem.find('.')); }

// What all entries of a map have in common.
struct MapRule {
  std::optional<int> layer_offset;                       // the same stages, so many layers further on
  std::set<std::pair<std::string, std::string>> stages;  // otherwise of the same layer: the place, and what is read
};
std::optional<MapRule> rule_of(const WeightMap& map) {
  MapRule rule;
  bool same_layers = true, same_stages = true;
  std::set<int> offsets;
  for (const auto& [place, read] : map) {
    const auto own = layer_tensor(place), theirs = layer_tensor(read);
    if (!own || !theirs) {
      return std::nullopt;
    }
    same_layers = same_layers && own->layer == theirs->layer;
    same_stages = same_stages && own->stem == theirs->stem;
    offsets.insert(theirs->layer - own->layer);
    rule.stages.emplace(stage_name(*own), stage_name(*theirs));
  }
  if (same_stages && offsets.size() == 1) {
    rule.layer_offset = *offsets.begin();
    return rule;
  }
  return same_layers ? std::optional(rule) : std::nullopt;
}

std::string says_of(const WeightMap& map, const std::optional<MapRule>& rule) {
  const auto& [place, read] = *map.begin();
  if (rule && rule->layer_offset) {
    std::set<std::string> stages;
    for (const auto& [own, theirs] : rule->stages) {
      stages.insert(own);
    }
    return fmt::format("{} of each layer is that of the layer {} {} it: {} in the place of {}",
                       fmt::join(stages, " and "), std::abs(*rule->layer_offset),
                       *rule->layer_offset > 0 ? "behind" : "before", read, place);
  }
  if (rule) {
    std::vector<std::string> pairs;
    for (const auto& [own, theirs] : rule->stages) {
      pairs.push_back(fmt::format("{} in the place of {}", theirs, own));
    }
    return fmt::format("{}, in each layer", fmt::join(pairs, " and "));
  }
  return fmt::format("{} weights are read in the place of others, the first {} in that of {}", map.size(), read, place);
}

}  // namespace

std::optional<Matrix> with_weight(const StageFacts& facts, const gguf::Tensor& other, KeptScale scale) {
  const gguf::Tensor* const own = weight_of_stage(facts);
  const auto x = input_of_stage(facts);
  if (own == nullptr || other.dims != own->dims || !x || x->n_features != other.n_cols()) {
    return std::nullopt;
  }
  if (facts.id().stage.kind() == StageKind::kNorm) {
    return facts.steps().norm(*x, facts.steps().weight_row(other, 0), facts.steps().hyperparameters().norm_epsilon);
  }
  return facts.id().stage.kind() == StageKind::kProjection
             ? std::optional(multiplied(facts.steps().project(*x, other), scale_factor(facts, *own, other, scale)))
             : std::nullopt;
}

bool may_have_read(const StageFacts& facts, const gguf::Tensor& other, KeptScale scale) {
  constexpr double kLike = 0.3;  // matrices that have nothing to do with each other are 1.4 apart
  const auto product = product_of(facts);
  if (!product || !facts.is() || other.dims != product->weight->dims) {
    return false;
  }
  const std::vector<uint64_t> rows = spread(other.n_rows(), 32);
  const Matrix x = first_tokens(product->x, 2);
  const Matrix y = facts.steps().project(
      x, other, rows.size(), [&](uint64_t r, oracle::WeightRow& row) { oracle::decode_row(other, rows[r], row); });
  return relative_error(multiplied(y, scale_factor(facts, *product->weight, other, scale)),
                        first_tokens(columns_of(*facts.is(), rows), 2)) < kLike;
}

Proposal weight_map_proposal(const WeightMap& map, StageKind kind, KeptScale scale, double simplicity) {
  const auto rule = rule_of(map);
  const bool is_norm = kind == StageKind::kNorm;
  const bool is_of_place = !is_norm && scale == KeptScale::kOfThePlace;
  Json parameters = {{"weight", map.begin()->first}, {"weights", map}};
  parameters[is_norm ? "used" : "read"] = map.begin()->second;
  if (rule && rule->layer_offset) {
    parameters["layer_offset"] = *rule->layer_offset;
  }
  if (is_of_place) {
    parameters["scale_of"] = map.begin()->first;
  }
  return {is_norm ? "norm_weight" : "weights_swapped", std::move(parameters),
          says_of(map, rule) + (is_of_place ? ", each with the scale of its place" : ""),
          [map, kind, scale](const StageFacts& facts) -> std::optional<Matrix> {
            const gguf::Tensor* const own = weight_of_stage(facts);
            const auto read =
                own == nullptr || facts.id().stage.kind() != kind ? map.end() : map.find(std::string(own->name));
            const auto* other = read == map.end() ? nullptr : facts.steps().view().find_tensor(read->second);
            return other == nullptr ? std::nullopt : with_weight(facts, *other, scale);
          },
          simplicity};
}

std::vector<Proposal> usual_weight_maps(const StageFacts& facts) {
  constexpr double kSimplicity = 0.8;
  const StageKind kind = facts.id().stage.kind();
  const gguf::Tensor* const own = weight_of_stage(facts);
  const auto at = own == nullptr ? std::nullopt : layer_tensor(own->name);
  if (!at) {
    return {};
  }
  const gguf::View& view = facts.steps().view();
  const int n_layers = facts.steps().hyperparameters().n_layers;
  std::vector<std::string> stems;  // of all stages of this kind
  for (const trace::StageRow& row : trace::kStageTable) {
    const gguf::Tensor* tensor =
        row.kind == kind ? facts.steps().weight_of(trace::Stage(row), facts.id().layer) : nullptr;
    if (tensor != nullptr && row.place == trace::StagePlace::kInLayer) {
      stems.push_back(layer_tensor(tensor->name)->stem);
    }
  }
  std::vector<WeightMap> maps;
  const auto fill = [&](WeightMap& map, int layer, const std::string& stem, int other, const std::string& other_stem) {
    const std::string place = LayerTensor{layer, stem}.sibling(stem), read = LayerTensor{other, ""}.sibling(other_stem);
    const auto *a = view.find_tensor(place), *b = view.find_tensor(read);
    if (a != nullptr && b != nullptr && a->dims == b->dims) {
      map[place] = read;
    }
  };
  for (const std::string& stem : stems) {
    WeightMap& map = maps.emplace_back();
    for (int layer = 0; layer < n_layers && stem != at->stem; ++layer) {
      fill(map, layer, at->stem, layer, stem);
      fill(map, layer, stem, layer, at->stem);
    }
  }
  for (const int by : {1, -1}) {
    WeightMap one, all;
    for (int layer = 0; layer < n_layers; ++layer) {
      fill(one, layer, at->stem, layer + by, at->stem);
      for (const std::string& stem : stems) {
        fill(all, layer, stem, layer + by, stem);
      }
    }
    maps.push_back(std::move(one));
    maps.push_back(std::move(all));
  }
  std::vector<Proposal> proposals;
  for (const WeightMap& map : maps) {
    if (map.size() > 1 && map.contains(std::string(own->name))) {
      proposals.push_back(weight_map_proposal(map, kind, KeptScale::kOfTheCodes, kSimplicity));
      if (kind == StageKind::kProjection && facts.steps().weight_scale(*own) != 1) {
        proposals.push_back(weight_map_proposal(map, kind, KeptScale::kOfThePlace, kSimplicity - 0.05));
      }
    }
  }
  return proposals;
}

Proposal LayerOrder::proposal() const {
  std::string says;
  for (size_t layer = 0; layer < reads.size(); ++layer) {
    if (reads[layer] != static_cast<int>(layer)) {
      says += fmt::format("{}layer {} reads the {} of layer {}", says.empty() ? "" : ", ", layer,
                          matrices_only ? "matrices" : "weights", reads[layer]);
    }
  }
  Json parameters = {{"order", reads}};
  if (matrices_only) {
    parameters["of"] = "matrices";
  }
  if (scale == KeptScale::kOfThePlace) {
    parameters["scales"] = "own";
    says += ", and multiplies with its own scales";
  }
  return {"layer_order", std::move(parameters), std::move(says),
          [order = *this](const StageFacts& facts) -> std::optional<Matrix> {
            const auto layer = static_cast<size_t>(facts.id().layer);
            if (facts.id().layer < 0 || layer >= order.reads.size() || order.reads[layer] == facts.id().layer ||
                (order.matrices_only && facts.id().stage.kind() != StageKind::kProjection)) {
              return std::nullopt;
            }
            const auto* other = facts.steps().weight_of(facts.id().stage, order.reads[layer]);
            return other == nullptr ? std::nullopt : with_weight(facts, *other, order.scale);
          },
          scale == KeptScale::kOfThePlace ? 0.95 : 1};
}

}  // namespace tern::estimate
