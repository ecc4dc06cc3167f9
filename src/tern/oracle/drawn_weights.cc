// What can go wrong with a matrix's scale, its sign, its rows and single weights.
#include <bit>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "tern/oracle/drawn_parts.h"

namespace tern::oracle {
namespace {

using namespace drawn;

Workbench::Change scaling(double factor) {
  return reading([factor](const gguf::Tensor& own, uint64_t row, WeightRow& out) {
    decode_row(own, row, out);
    out.scale *= factor;
  });
}

// --- weight scale

DrawnFault factor(Dice& dice, const FaultyModel& model) {
  const double by = pick_factor(dice, 0.02, 50);
  DrawnFault fault = at_projection(dice, model, fmt::format("times {:.4g}", by));
  fault.change = scaling(by);
  fault.causes = {{"weight_scale", {{"factor", by}}}};
  return fault;
}

DrawnFault scale_of_zero(Dice& dice, const FaultyModel& model) {
  DrawnFault fault = at_one_projection(dice, model, "with a scale of 0");
  fault.change = scaling(0);
  fault.causes = {{"weight_scale", {{"factor", 0}}}};
  return fault;
}

DrawnFault scale_by_its_power(Dice& dice, const FaultyModel& model) {
  DrawnFault fault = at_one_projection(dice, model, "");
  const double scale = model.scale(fault.stages.front(), fault.layers.front());
  const bool ignored = dice.one_in(2);
  const double by = ignored ? 1 / scale : 1 / (scale * scale);
  fault.does += ignored ? "without its scale" : "divided by its scale";
  fault.change = scaling(by);
  fault.causes = {{"weight_scale", {{"factor", by}}}};
  return fault;
}

// Whether some projection fulfils `holds(stage, layer)`.
template <class Holds>
bool has_projection(const FaultyModel& model, const Holds& holds) {
  for (int layer = 0; layer < model.hp.n_layers; ++layer) {
    if (std::any_of(std::begin(kProjections), std::end(kProjections),
                    [&](Stage stage) { return holds(stage, layer); })) {
      return true;
    }
  }
  return false;
}

// Ways to keep a scale, a float32, in fewer bits.
struct Shorter {
  const char* name;
  double (*kept)(double scale);
};
constexpr Shorter kShorter[] = {
    // The upper half of a float32, which has 8 significant bits.
    {"cut to bfloat16",
     [](double scale) {
       const auto cut = std::bit_cast<float>(std::bit_cast<uint32_t>(static_cast<float>(scale)) & 0xffff0000U);
       return static_cast<double>(cut);
     }},
    {"rounded to bfloat16", [](double scale) { return round_to_significant_bits(scale, 8); }},
    {"rounded to float16", [](double scale) { return round_to_significant_bits(scale, 11); }},
};

constexpr double kVisibleCut = 2e-4, kVisibleScale = 0.01;

bool is_visible(double factor) { return std::abs(factor - 1) > kVisibleCut; }

bool has_long_scale(const FaultyModel& model) {
  return model.is_i2s() && has_projection(model, [&](Stage stage, int layer) {
           const double scale = model.scale(stage, layer);
           return std::any_of(std::begin(kShorter), std::end(kShorter),
                              [scale](const Shorter& shorter) { return is_visible(shorter.kept(scale) / scale); });
         });
}

bool has_two_scales(const FaultyModel& model) {
  return model.is_i2s() && has_projection(model, [&](Stage stage, int layer) {
           return std::abs(model.scale(stage, layer) / model.scale(Stage::kQProj, 0) - 1) > kVisibleScale;
         });
}

DrawnFault scale_in_fewer_bits(Dice& dice, const FaultyModel& model) {
  while (true) {
    const Shorter& shorter = dice.pick(kShorter);
    DrawnFault fault = at_one_projection(dice, model, fmt::format("with its scale {}", shorter.name));
    const double scale = model.scale(fault.stages.front(), fault.layers.front());
    const double by = shorter.kept(scale) / scale;
    if (is_visible(by)) {
      fault.change = scaling(by);
      fault.causes = {{"weight_scale", {{"factor", by}}, 1.0}};
      return fault;
    }
  }
}

DrawnFault scale_of_another(Dice& dice, const FaultyModel& model) {
  while (true) {
    DrawnFault fault = at_one_projection(dice, model, "with the scale of ");
    const Stage other = pick_stage(dice, model, kProjections);
    const int layer = pick_layer(dice, model);
    const double by = model.scale(other, layer) / model.scale(fault.stages.front(), fault.layers.front());
    if (std::abs(by - 1) > kVisibleScale) {
      fault.does += fmt::format("blk{}/{}", layer, other.name());
      fault.change = scaling(by);
      fault.causes = {{"weight_scale", {{"factor", by}}}};
      return fault;
    }
  }
}

// --- weight sign

std::vector<uint64_t> rows_from(uint64_t first, uint64_t last) {
  std::vector<uint64_t> rows(last - first + 1);
  std::iota(rows.begin(), rows.end(), first);
  return rows;
}

DrawnFault negated(Dice& dice, const FaultyModel& model) {
  DrawnFault fault = at_projection(dice, model, "negated");
  fault.change = scaling(-1);
  fault.causes = {{"weight_sign", {{"factor", -1}}}};
  return fault;
}

DrawnFault negated_rows(Dice& dice, const FaultyModel& model) {
  DrawnFault fault = at_one_projection(dice, model, "");
  const uint64_t n_rows = matrix_of(model, fault).n_rows(), first = dice.below(n_rows / 2);
  const uint64_t last = first + dice.below(n_rows - first);
  fault.does += fmt::format("rows {} to {} negated", first, last);
  fault.change = reading([first, last](const gguf::Tensor& own, uint64_t row, WeightRow& out) {
    decode_row(own, row, out);
    out.scale *= row >= first && row <= last ? -1 : 1;
  });
  fault.causes = {{"weight_sign", {{"rows", rows_from(first, last)}}}};
  return fault;
}

// --- weight rows

DrawnFault rows_missing(Dice& dice, const FaultyModel& model) {
  DrawnFault fault = at_one_matrix(dice, model, "");
  const uint64_t n_rows = matrix_of(model, fault).n_rows(), first = n_rows / 4 + dice.below(3 * n_rows / 4);
  fault.does += fmt::format("rows zero from {} on", first);
  fault.change = reading([first](const gguf::Tensor& own, uint64_t row, WeightRow& out) {
    decode_row(own, row, out);
    out.scale *= row >= first ? 0 : 1;
  });
  fault.causes = {{"weight_rows", {{"rows", rows_from(first, n_rows - 1)}}}};
  return fault;
}

DrawnFault rows_exchanged(Dice& dice, const FaultyModel& model) {
  DrawnFault fault = at_one_matrix(dice, model, "");
  const uint64_t n_rows = matrix_of(model, fault).n_rows();
  std::set<uint64_t> rows;
  for (const size_t wanted = 2 * (1 + dice.below(3)); rows.size() < wanted;) {
    rows.insert(dice.below(n_rows));
  }
  std::vector<uint64_t> order(n_rows);
  std::iota(order.begin(), order.end(), uint64_t{0});
  for (auto row = rows.begin(); row != rows.end(); std::advance(row, 2)) {
    std::swap(order[*row], order[*std::next(row)]);
  }
  fault.does += fmt::format("rows {} change places in pairs", fmt::join(rows, ", "));
  fault.change =
      reading([order](const gguf::Tensor& own, uint64_t row, WeightRow& out) { decode_row(own, order[row], out); });
  std::vector<uint64_t> read;
  for (const uint64_t row : rows) {
    read.push_back(order[row]);
  }
  fault.causes = {{"weight_rows", {{"rows", rows}, {"read", read}}}};
  return fault;
}

DrawnFault row_repeated(Dice& dice, const FaultyModel& model) {
  DrawnFault fault = at_one_matrix(dice, model, "");
  const uint64_t n_rows = matrix_of(model, fault).n_rows(), to = 1 + dice.below(n_rows - 1), from = dice.below(to);
  fault.does += fmt::format("row {} in place of row {}", from, to);
  fault.change = reading([from, to](const gguf::Tensor& own, uint64_t row, WeightRow& out) {
    decode_row(own, row == to ? from : row, out);
  });
  fault.causes = {{"weight_rows", {{"rows", {to}}, {"read", {from}}}}};
  return fault;
}

// Some rows are those of another matrix whose rows are as long: of the same layer, or the same matrix of another.
DrawnFault rows_of_another(Dice& dice, const FaultyModel& model) {
  while (true) {
    DrawnFault fault = at_one_projection(dice, model, "");
    const gguf::Tensor& own = matrix_of(model, fault);
    const bool sibling = dice.one_in(2);
    const Stage stage = sibling ? pick_stage(dice, model, kProjections) : fault.stages.front();
    const int layer = sibling ? fault.layers.front() : pick_layer(dice, model);
    const gguf::Tensor& other = model.tensor(stage, layer);
    if (&other == &own || other.n_cols() != own.n_cols()) {
      continue;
    }
    const uint64_t n_rows = std::min(own.n_rows(), other.n_rows());
    const uint64_t first = dice.below(n_rows), last = first + dice.below(std::min<uint64_t>(n_rows - first, 64));
    fault.does += fmt::format("rows {} to {} from blk{}/{}", first, last, layer, stage.name());
    fault.change = reading([first, last, other = &other](const gguf::Tensor& right, uint64_t row, WeightRow& out) {
      decode_row(row >= first && row <= last ? *other : right, row, out);
    });
    const std::vector<uint64_t> rows = rows_from(first, last);
    fault.causes = {{"weight_rows", {{"rows", rows}, {"read", rows}, {"from", {weight_name(model, stage, layer)}}}}};
    return fault;
  }
}

// --- weight values

DrawnFault few_values(Dice& dice, const FaultyModel& model) {
  DrawnFault fault = at_one_matrix(dice, model, "");
  const gguf::Tensor& matrix = matrix_of(model, fault);
  const bool ternary = matrix.format == &quant::kI2sBitnetCpp;
  struct Changed {
    uint64_t row, column;
    double value;
  };
  std::vector<Changed> changed;
  std::map<std::pair<uint64_t, uint64_t>, double> deltas;
  for (size_t n = 1 + dice.below(3); n > 0; --n) {
    const uint64_t row = dice.below(matrix.n_rows()), column = dice.below(matrix.n_cols());
    if (deltas.contains({row, column})) {
      continue;
    }
    WeightRow old;
    decode_row(matrix, row, old);
    const double was = old.weights[column];
    const double rms = std::sqrt(std::inner_product(old.weights.begin(), old.weights.end(), old.weights.begin(), 0.0) /
                                 static_cast<double>(old.weights.size()));
    const double value = ternary ? (was == 0         ? (dice.one_in(2) ? 1 : -1)
                                    : dice.one_in(2) ? 0
                                                     : -was)
                                 : was + rms * dice.log_uniform(0.5, 8) * (dice.one_in(2) ? 1 : -1);
    changed.push_back({row, column, value});
    deltas[{row, column}] = (value - was) * old.scale;
    fault.does +=
        fmt::format("{}weight [{}, {}] {:.3g} for {:.3g}", changed.size() > 1 ? ", " : "", row, column, value, was);
  }
  fault.change = reading([changed](const gguf::Tensor& own, uint64_t row, WeightRow& out) {
    decode_row(own, row, out);
    for (const Changed& weight : changed) {
      if (weight.row == row) {
        out.weights[weight.column] = weight.value;
      }
    }
  });
  Json weights = Json::array();
  for (const auto& [at, delta] : deltas) {
    weights.push_back({{"row", at.first}, {"column", at.second}, {"delta", delta}});
  }
  fault.causes = {{"weight_value", weights.size() == 1 ? weights[0] : Json{{"weights", weights}}}};
  return fault;
}

constexpr FaultVariant kWeightFaults[] = {
    {"scale and sign", "any factor", any_model, factor},
    {"scale and sign", "zero", any_model, scale_of_zero},
    {"scale and sign", "ignored or inverted", is_i2s, scale_by_its_power},
    {"scale and sign", "in fewer bits", has_long_scale, scale_in_fewer_bits, true},
    {"scale and sign", "another's", has_two_scales, scale_of_another},
    {"scale and sign", "whole matrix negated", any_model, negated},
    {"scale and sign", "some rows negated", any_model, negated_rows},
    {"weight rows", "missing", any_model, rows_missing},
    {"weight rows", "exchanged", any_model, rows_exchanged},
    {"weight rows", "repeated", any_model, row_repeated, true},
    {"weight rows", "of another matrix", any_model, rows_of_another, true},
    {"weight values", "a few", any_model, few_values, true},
};

}  // namespace

std::span<const FaultVariant> drawn_weight_faults() { return kWeightFaults; }

}  // namespace tern::oracle
