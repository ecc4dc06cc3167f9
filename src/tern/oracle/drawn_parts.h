// What the rows of drawn_*.cc have in common. Private to oracle/.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "tern/oracle/drawn_fault.h"

namespace tern::oracle::drawn {

using trace::Stage;
using trace::StageKind;
using Place = Workbench::Place;
using Matrix = Workbench::Matrix;

inline bool any_model(const FaultyModel&) { return true; }
inline bool is_i2s(const FaultyModel& model) { return model.is_i2s(); }
inline bool has_layers(const FaultyModel& model) { return model.hp.n_layers > 1; }

inline constexpr auto kProjections =
    trace::kStagesWhere<[](const trace::StageRow& row) { return row.kind == trace::StageKind::kProjection; }>;

// One of `stages`, that the model has.
inline Stage pick_stage(Dice& dice, const FaultyModel& model, std::span<const Stage> stages) {
  while (true) {
    const Stage stage = stages[dice.below(stages.size())];
    if (model.hp.sub_norms || !stage.row().only_with_sub_norms) {
      return stage;
    }
  }
}

inline int pick_layer(Dice& dice, const FaultyModel& model) {
  return static_cast<int>(dice.below(static_cast<size_t>(model.hp.n_layers)));
}

// A layer, or one time in four all of them.
inline std::vector<int> pick_layers(Dice& dice, const FaultyModel& model) {
  return dice.one_in(4) ? std::vector<int>() : std::vector<int>{pick_layer(dice, model)};
}

inline bool in_layers(Stage stage) { return stage.row().place == trace::StagePlace::kInLayer; }

inline std::string place_text(const std::vector<Stage>& stages, const std::vector<int>& layers) {
  std::vector<std::string_view> names;
  for (const Stage stage : stages) {
    names.push_back(stage.name());
  }
  const std::string where = !in_layers(stages.front()) ? ""
                            : layers.empty()           ? "blk*/"
                                                       : fmt::format("blk{}/", fmt::join(layers, "+"));
  return fmt::format("{}{}", where, fmt::join(names, "+"));
}

// Where a fault is: its stages and layers are filled in, and `does` begins with them.
inline DrawnFault at(std::vector<Stage> stages, std::vector<int> layers, const std::string& does) {
  DrawnFault fault;
  fault.does = place_text(stages, layers) + " " + does;
  fault.stages = std::move(stages);
  fault.layers = in_layers(fault.stages.front()) ? std::move(layers) : std::vector<int>();
  return fault;
}

// A projection in one layer or in all of them.
inline DrawnFault at_projection(Dice& dice, const FaultyModel& model, const std::string& does) {
  return at({pick_stage(dice, model, kProjections)}, pick_layers(dice, model), does);
}

inline DrawnFault at_one_projection(Dice& dice, const FaultyModel& model, const std::string& does) {
  return at({pick_stage(dice, model, kProjections)}, {pick_layer(dice, model)}, does);
}

// One matrix, the head included.
inline DrawnFault at_one_matrix(Dice& dice, const FaultyModel& model, const std::string& does) {
  return dice.one_in(8) ? at({Stage::kLogits}, {}, does) : at_one_projection(dice, model, does);
}

inline const gguf::Tensor& matrix_of(const FaultyModel& model, const DrawnFault& fault) {
  return model.tensor(fault.stages.front(), fault.claimed_place().layer);
}

// Not within a twentieth of 1, which would be no fault worth the name.
inline double pick_factor(Dice& dice, double low, double high) {
  double factor = 1;
  while (std::abs(factor - 1) < 0.05) {
    factor = dice.log_uniform(low, high);
  }
  return factor;
}

// As causes name them: "blk.2.ffn_up.weight".
inline std::string weight_name(const FaultyModel& model, Stage stage, int layer) {
  return std::string(model.tensor(stage, layer).name);
}
// Of the first matrix or norm that the fault is in.
inline std::string weight_name(const FaultyModel& model, const DrawnFault& fault) {
  return weight_name(model, fault.stages.front(), fault.claimed_place().layer);
}

// A projection or head whose rows are read by `read`.
using ReadRow = std::function<void(const gguf::Tensor& own, uint64_t row, WeightRow& out)>;
inline Workbench::Change reading(ReadRow read) {
  return [read = std::move(read)](const Workbench& bench, const Place& place, Matrix& result) {
    const gguf::Tensor& own = bench.weight(place.stage, place.layer);
    result = bench.product(bench.input(place), own, [&](uint64_t row, WeightRow& out) { read(own, row, out); });
  };
}

}  // namespace tern::oracle::drawn
