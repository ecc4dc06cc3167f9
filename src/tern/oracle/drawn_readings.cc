// What can go wrong with which matrix is read, in which order, from which bytes, and with what it is multiplied.
#include <array>
#include <cmath>
#include <functional>
#include <numeric>

#include "tern/oracle/drawn_parts.h"

namespace tern::oracle {
namespace {

using namespace drawn;

// --- weights exchanged

// Two matrices of one layer that have one shape.
DrawnFault swapped(Dice& dice, const FaultyModel& model) {
  std::vector<std::array<Stage, 2>> pairs = {{Stage::kGateProj, Stage::kUpProj}, {Stage::kQProj, Stage::kOProj}};
  if (model.hp.n_heads == model.hp.n_kv_heads) {
    pairs.push_back({Stage::kQProj, Stage::kKProj});
  }
  pairs.push_back({Stage::kKProj, Stage::kVProj});
  const auto pair = dice.pick(pairs);
  DrawnFault fault = at({pair[0], pair[1]}, pick_layers(dice, model), "change places");
  fault.change = [pair](const Workbench& bench, const Place& place, Matrix& result) {
    const gguf::Tensor& other = bench.weight(place.stage == pair[0] ? pair[1] : pair[0], place.layer);
    result = bench.product(bench.input(place), other, Workbench::rows_of(other));
  };
  const int layer = fault.claimed_place().layer;
  fault.causes = {{"weights_swapped",
                   {{"weight", weight_name(model, pair[0], layer)}, {"read", weight_name(model, pair[1], layer)}}}};
  return fault;
}

int another_layer(Dice& dice, const FaultyModel& model, int layer) {
  const auto n = static_cast<size_t>(model.hp.n_layers);
  return static_cast<int>((static_cast<size_t>(layer) + 1 + dice.below(n - 1)) % n);
}

DrawnFault of_another_layer(Dice& dice, const FaultyModel& model) {
  DrawnFault fault = at_one_projection(dice, model, "");
  const int layer = another_layer(dice, model, fault.layers.front());
  fault.does += fmt::format("with the matrix of layer {}", layer);
  fault.change = [layer](const Workbench& bench, const Place& place, Matrix& result) {
    const gguf::Tensor& other = bench.weight(place.stage, layer);
    result = bench.product(bench.input(place), other, Workbench::rows_of(other));
  };
  fault.causes = {{"weights_swapped",
                   {{"weight", weight_name(model, fault)}, {"read", weight_name(model, fault.stages.front(), layer)}}}};
  return fault;
}

// All of a layer's weights, its norms' too.
DrawnFault layers_exchanged(Dice& dice, const FaultyModel& model) {
  const int one = pick_layer(dice, model), other = another_layer(dice, model, one);
  std::vector<Stage> stages;
  for (const trace::StageRow& row : trace::kStageTable) {
    const bool has_weight = row.kind == StageKind::kNorm || row.kind == StageKind::kProjection;
    if (row.place == trace::StagePlace::kInLayer && has_weight && (model.hp.sub_norms || !row.only_with_sub_norms)) {
      stages.emplace_back(row);
    }
  }
  DrawnFault fault = at(stages, {std::min(one, other), std::max(one, other)}, "change places");
  fault.does = fmt::format("layers {} and {} change places", one, other);
  fault.change = [one, other](const Workbench& bench, const Place& place, Matrix& result) {
    const int layer = place.layer == one ? other : one;
    if (place.stage.kind() == StageKind::kNorm) {
      result = bench.normed(bench.input(place), bench.norm_weight(place.stage, layer), bench.model().norm_epsilon);
    } else {
      const gguf::Tensor& matrix = bench.weight(place.stage, layer);
      result = bench.product(bench.input(place), matrix, Workbench::rows_of(matrix));
    }
  };
  std::vector<int> order(static_cast<size_t>(model.hp.n_layers));
  std::iota(order.begin(), order.end(), 0);
  std::swap(order[static_cast<size_t>(one)], order[static_cast<size_t>(other)]);
  fault.causes = {{"layer_order", {{"order", order}}}};
  return fault;
}

// --- row order

// Within each head, as files are reordered for engines that turn neighbours, or back.
DrawnFault rows_of_heads(Dice& dice, const FaultyModel& model) {
  const bool undone = dice.one_in(2);
  const auto half = static_cast<uint64_t>(model.hp.head_dim / 2);
  DrawnFault fault = at({Stage::kQProj, Stage::kKProj}, pick_layers(dice, model),
                        undone ? "rows of heads put from halves to neighbours" : "rows of heads put into halves");
  fault.change = reading([half, undone](const gguf::Tensor& own, uint64_t row, WeightRow& out) {
    const uint64_t i = row % (2 * half);
    const uint64_t from = undone ? i % half * 2 + i / half : i % 2 * half + i / 2;
    decode_row(own, row - i + from, out);
  });
  fault.causes = {{"qk_row_permutation", {{"undone", undone}}}};
  return fault;
}

// Two heads change places, or all move on by some.
std::vector<size_t> order_of_heads(Dice& dice, size_t n) {
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  if (dice.one_in(2)) {
    const size_t one = dice.below(n);
    std::swap(order[one], order[(one + 1 + dice.below(n - 1)) % n]);
  } else {
    std::rotate(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(1 + dice.below(n - 1)), order.end());
  }
  return order;
}

DrawnFault heads_of_a_projection(Dice& dice, const FaultyModel& model) {
  const bool of_keys = model.hp.n_kv_heads > 1 && dice.one_in(2);
  const Stage stage = !of_keys ? Stage::kQProj : dice.one_in(2) ? Stage::kKProj : Stage::kVProj;
  const auto order = order_of_heads(dice, static_cast<size_t>(of_keys ? model.hp.n_kv_heads : model.hp.n_heads));
  DrawnFault fault = at({stage}, pick_layers(dice, model), fmt::format("heads in the order {}", fmt::join(order, " ")));
  const auto width = static_cast<uint64_t>(model.hp.head_dim);
  fault.change = reading([order, width](const gguf::Tensor& own, uint64_t row, WeightRow& out) {
    decode_row(own, order[row / width] * width + row % width, out);
  });
  fault.causes = {{"head_order", {{"order", order}}}};
  return fault;
}

DrawnFault heads_merged(Dice& dice, const FaultyModel& model) {
  const auto order = order_of_heads(dice, static_cast<size_t>(model.hp.n_heads));
  DrawnFault fault = at({Stage::kAttnOut}, pick_layers(dice, model),
                        fmt::format("heads merged in the order {}", fmt::join(order, " ")));
  const auto width = static_cast<size_t>(model.hp.head_dim);
  fault.change = [order, width](const Workbench&, const Place&, Matrix& result) {
    const Matrix right = result;
    for (size_t t = 0; t < right.n_tokens; ++t) {
      for (size_t i = 0; i < right.n_features; ++i) {
        result.row(t)[i] = right.row(t)[order[i / width] * width + i % width];
      }
    }
  };
  fault.causes = {{"head_order", {{"order", order}}}};
  return fault;
}

// --- bytes read otherwise

// Where the two bits of a weight are in the bytes of its row.
struct Bits {
  uint64_t byte;
  unsigned shift;
};

Workbench::Change unpacking(std::function<Bits(uint64_t column)> place_of) {
  return reading([place_of = std::move(place_of)](const gguf::Tensor& own, uint64_t row, WeightRow& out) {
    decode_row(own, row, out);
    const auto bytes = own.data.subspan(row * own.n_cols() / 4, own.n_cols() / 4);
    for (uint64_t column = 0; column < own.n_cols(); ++column) {
      const Bits bits = place_of(column);
      out.weights[column] = static_cast<double>(std::to_integer<unsigned>(bytes[bits.byte]) >> bits.shift & 3U) - 1;
    }
  });
}

// In all matrices, as such readers would, or in one.
DrawnFault at_one_or_all(Dice& dice, const FaultyModel& model, const std::string& does) {
  return dice.one_in(2) ? at({std::begin(kProjections), std::end(kProjections)}, {}, does)
                        : at_one_projection(dice, model, does);
}

DrawnFault block_size(Dice& dice, const FaultyModel& model) {
  const uint64_t block = dice.one_in(2) ? 64 : 32;
  DrawnFault fault = at_one_or_all(dice, model, fmt::format("read in blocks of {}", block));
  fault.change = unpacking([block](uint64_t column) {
    const uint64_t quarter = block / 4, i = column % block;
    return Bits{column / block * quarter + i % quarter, static_cast<unsigned>(6 - 2 * (i / quarter))};
  });
  fault.causes = {{"i2s_block_size", {{"block", block}}}};
  return fault;
}

DrawnFault code_order(Dice& dice, const FaultyModel& model) {
  const size_t which = dice.below(3);
  const char* const orders[] = {"four neighbours a byte, from the top", "four neighbours a byte, from the bottom",
                                "quarters of a block from the bottom"};
  DrawnFault fault = at_one_or_all(dice, model, std::string("read as ") + orders[which]);
  fault.change = unpacking([which](uint64_t column) {
    const auto in_byte = static_cast<unsigned>(2 * (column % 4));
    return which == 0   ? Bits{column / 4, 6 - in_byte}
           : which == 1 ? Bits{column / 4, in_byte}
                        : Bits{column / 128 * 32 + column % 32, static_cast<unsigned>(2 * (column % 128 / 32))};
  });
  fault.causes = {
      {"i2s_unpack_order", {{"block", which == 2 ? 128 : 4}, {"first", which == 0 ? "top bits" : "lowest bits"}}}};
  return fault;
}

DrawnFault code_map(Dice& dice, const FaultyModel& model) {
  constexpr std::array<int, 3> kMaps[] = {{0, 1, 2}, {0, 1, -1}, {1, -1, 0}, {-2, -1, 1}, {0, -1, 1}, {-1, 1, 0}};
  const auto map = dice.pick(kMaps);
  DrawnFault fault = at_one_or_all(dice, model, fmt::format("with codes for {}", fmt::join(map, ", ")));
  fault.change = reading([map](const gguf::Tensor& own, uint64_t row, WeightRow& out) {
    decode_row(own, row, out);
    for (double& weight : out.weights) {
      weight = map[static_cast<size_t>(weight + 1)];
    }
  });
  fault.causes = {{"ternary_code_map", {{"values", map}}}};
  return fault;
}

// Of the square ones.
DrawnFault transposed(Dice& dice, const FaultyModel& model) {
  DrawnFault fault =
      at({dice.one_in(2) ? Stage::kQProj : Stage::kOProj}, {pick_layer(dice, model)}, "read column by column");
  const gguf::Tensor& matrix = matrix_of(model, fault);
  std::vector<std::vector<double>> rows;
  for (uint64_t row = 0; row < matrix.n_rows(); ++row) {
    WeightRow one;
    decode_row(matrix, row, one);
    rows.push_back(std::move(one.weights));
  }
  fault.change = reading([rows](const gguf::Tensor& own, uint64_t row, WeightRow& out) {
    decode_row(own, row, out);
    for (uint64_t column = 0; column < out.weights.size(); ++column) {
      out.weights[column] = rows[column][row];
    }
  });
  fault.causes = {{"weights_transposed", {{"weight", weight_name(model, fault)}}}};
  return fault;
}

// --- activation rounding

// Rounds each row of `x` and returns what one unit of each row stands for.
using Round = std::function<std::vector<double>(Matrix& x)>;

DrawnFault rounding(Dice& dice, const FaultyModel& model, const std::string& does, const Json& parameters,
                    Round round) {
  DrawnFault fault = dice.one_in(3) ? at({std::begin(kProjections), std::end(kProjections)}, {}, does)
                                    : at({pick_stage(dice, model, kProjections)}, pick_layers(dice, model), does);
  fault.change = [round = std::move(round)](const Workbench& bench, const Place& place, Matrix& result) {
    Matrix x = bench.input(place);
    const std::vector<double> units = round(x);
    const gguf::Tensor& matrix = bench.weight(place.stage, place.layer);
    result = bench.product_of_rounded(x, units, matrix, Workbench::rows_of(matrix));
  };
  fault.causes = {{"activation_rounding", parameters}};
  return fault;
}

double largest_of(std::span<const double> values) {
  double largest = 1e-5;
  for (const double value : values) {
    largest = std::max(largest, std::abs(value));
  }
  return largest;
}

// So that the largest value becomes `top`.
std::vector<double> round_rows(Matrix& x, double top, double (*to_step)(double)) {
  std::vector<double> units;
  for (size_t t = 0; t < x.n_tokens; ++t) {
    const double unit = largest_of(x.row(t)) / top;
    for (double& value : x.row(t)) {
      value = to_step(value / unit);
    }
    units.push_back(unit);
  }
  return units;
}

double to_nearest(double steps) { return std::nearbyint(steps); }

DrawnFault not_rounded(Dice& dice, const FaultyModel& model) {
  return rounding(dice, model, "of activations that are not rounded", {{"rounding", "none"}},
                  [](Matrix& x) { return std::vector<double>(x.n_tokens, 1.0); });
}

DrawnFault rounded_alike(Dice& dice, const FaultyModel& model) {
  const Json parameters = {{"rounding", "one scale for the batch"}};
  return rounding(dice, model, "of activations with one scale for the batch", parameters, [](Matrix& x) {
    const double unit = largest_of(x.values) / 127;
    std::transform(x.values.begin(), x.values.end(), x.values.begin(),
                   [unit](double value) { return to_nearest(value / unit); });
    return std::vector<double>(x.n_tokens, unit);
  });
}

DrawnFault rounded_coarsely(Dice& dice, const FaultyModel& model) {
  const double tops[] = {7, 15, 31, 63, 100};
  const double top = dice.pick(tops);
  return rounding(dice, model, fmt::format("of activations rounded to {} steps", top),
                  {{"levels", static_cast<int>(top)}}, [top](Matrix& x) { return round_rows(x, top, to_nearest); });
}

DrawnFault cut_off(Dice& dice, const FaultyModel& model) {
  return rounding(dice, model, "of activations cut off instead of rounded", {{"rounding", "truncated"}},
                  [](Matrix& x) { return round_rows(x, 127, [](double steps) { return std::trunc(steps); }); });
}

DrawnFault scaled_in_fours(Dice& dice, const FaultyModel& model) {
  DrawnFault fault =
      rounding(dice, model, "scaled back with the first of four tokens' scale", Json::object(), [](Matrix& x) {
        std::vector<double> units = round_rows(x, 127, to_nearest);
        for (size_t t = 0; t < units.size(); ++t) {
          units[t] = units[t - t % 4];
        }
        return units;
      });
  fault.causes = {{"prefill_only"}};
  return fault;
}

constexpr FaultVariant kReadingFaults[] = {
    {"weights exchanged", "two matrices", any_model, swapped},
    {"weights exchanged", "another layer's matrix", has_layers, of_another_layer},
    {"weights exchanged", "two layers", has_layers, layers_exchanged},
    {"row order", "within heads", any_model, rows_of_heads},
    {"row order", "heads of a projection", any_model, heads_of_a_projection},
    {"row order", "heads merged", any_model, heads_merged},
    {"bytes read otherwise", "block size", is_i2s, block_size},
    {"bytes read otherwise", "code order", is_i2s, code_order},
    {"bytes read otherwise", "code map", is_i2s, code_map},
    {"bytes read otherwise", "transposed", any_model, transposed},
    {"activation rounding", "none", is_i2s, not_rounded},
    {"activation rounding", "one scale", is_i2s, rounded_alike},
    {"activation rounding", "other steps", is_i2s, rounded_coarsely},
    {"activation rounding", "cut off", is_i2s, cut_off},
    {"activation rounding", "first of four", is_i2s, scaled_in_fours},
};

}  // namespace

std::span<const FaultVariant> drawn_reading_faults() { return kReadingFaults; }

}  // namespace tern::oracle
