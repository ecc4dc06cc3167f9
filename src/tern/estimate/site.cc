#include "tern/estimate/site.h"

#include <fmt/format.h>

#include <charconv>

namespace tern::estimate {

std::string LayerTensor::sibling(std::string_view other_stem) const {
  return fmt::format("blk.{}.{}", layer, other_stem);
}

std::optional<LayerTensor> layer_tensor(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) {
    return std::nullopt;
  }
  LayerTensor found;
  const char* const begin = name.data() + kPrefix.size();
  const char* const end = name.data() + name.size();
  const auto [behind, error] = std::from_chars(begin, end, found.layer);
  if (error != std::errc() || behind == end || *behind != '.') {
    return std::nullopt;
  }
  found.stem.assign(behind + 1, end);
  return found;
}

const gguf::Tensor* weight_of_stage(const StageFacts& facts) {
  return facts.steps().weight_of(facts.id().stage, facts.id().layer);
}

std::optional<Matrix> input_of_stage(const StageFacts& facts) {
  std::string_view follows = facts.id().stage.row().follows;
  for (const trace::StageRow* row = trace::kStageTable.end(); row-- != trace::kStageTable.begin();) {
    if (row->name != follows) {
      continue;
    }
    if (row->only_with_sub_norms && !facts.steps().hyperparameters().sub_norms) {
      follows = row->follows;  // stands before it in the table
      continue;
    }
    const bool in_layer = row->place == trace::StagePlace::kInLayer;
    return in_layer && facts.id().layer < 0 ? facts.layer_input() : facts.input(trace::Stage(*row));
  }
  return facts.layer_input();
}

}  // namespace tern::estimate
