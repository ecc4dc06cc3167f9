// What can go wrong with embeddings, norms, the activation, residual sums and the head.
#include <cmath>
#include <numbers>

#include "tern/oracle/drawn_parts.h"

namespace tern::oracle {
namespace {

using namespace drawn;

// --- embeddings

DrawnFault another_row(Dice& dice, const FaultyModel&) {
  const int offset = static_cast<int>(1 + dice.below(3)) * (dice.one_in(2) ? 1 : -1);
  DrawnFault fault = at({Stage::kEmbeddings}, {}, fmt::format("of the row {:+}", offset));
  fault.change = [offset](const Workbench& bench, const Place&, Matrix& result) {
    const int n = bench.model().n_vocab;
    for (size_t t = 0; t < result.n_tokens; ++t) {
      WeightRow row;
      decode_row(bench.embeddings(), static_cast<uint64_t>((bench.token(bench.n_past() + t) + offset + n) % n), row);
      std::copy(row.weights.begin(), row.weights.end(), result.row(t).begin());
    }
  };
  fault.causes = {"embedding_row"};
  fault.figures = {figure({"offset", "row_offset"}, offset)};
  return fault;
}

Workbench::Change times(double factor) {
  return [factor](const Workbench&, const Place&, Matrix& result) {
    for (double& value : result.values) {
      value *= factor;
    }
  };
}

DrawnFault embeddings_scaled(Dice& dice, const FaultyModel& model) {
  const double root = std::sqrt(static_cast<double>(model.hp.n_embd));  // as some model families have it
  const double factor = dice.one_in(3) ? root : pick_factor(dice, 0.05, 50);
  DrawnFault fault = at({Stage::kEmbeddings}, {}, fmt::format("times {:.4g}", factor));
  fault.change = times(factor);
  fault.causes = {"embedding_scale"};
  fault.figures = {figure({"factor"}, factor)};
  return fault;
}

// --- norms

constexpr auto kDrawnNorms =
    trace::kStagesWhere<[](const trace::StageRow& row) { return row.kind == trace::StageKind::kNorm; }>;

DrawnFault at_norm(Dice& dice, const FaultyModel& model, const std::string& does) {
  return at({pick_stage(dice, model, kDrawnNorms)}, pick_layers(dice, model), does);
}

using NormWeight = std::function<std::vector<double>(const Workbench& bench, const Place& place)>;
Workbench::Change with_norm_weight(NormWeight weight) {
  return [weight = std::move(weight)](const Workbench& bench, const Place& place, Matrix& result) {
    result = bench.normed(bench.input(place), weight(bench, place), bench.model().norm_epsilon);
  };
}

// Each weight w becomes change(w).
DrawnFault norm_weight_changed(Dice& dice, const FaultyModel& model, const char* does, double (*change)(double w)) {
  DrawnFault fault = at_norm(dice, model, does);
  fault.change = with_norm_weight([change](const Workbench& bench, const Place& place) {
    std::vector<double> weight = bench.norm_weight(place.stage, place.layer);
    std::transform(weight.begin(), weight.end(), weight.begin(), change);
    return weight;
  });
  fault.causes = {"norm_weight"};
  return fault;
}

DrawnFault norm_of_ones(Dice& dice, const FaultyModel& model) {
  return norm_weight_changed(dice, model, "without its weight", [](double) { return 1.0; });
}
DrawnFault norm_plus_one(Dice& dice, const FaultyModel& model) {
  return norm_weight_changed(dice, model, "with 1 added to its weight", [](double w) { return 1 + w; });
}
DrawnFault norm_weight_twice(Dice& dice, const FaultyModel& model) {
  DrawnFault fault = norm_weight_changed(dice, model, "with its weight applied twice", [](double w) { return w * w; });
  fault.causes = {"norm_weight", "norm_doubled"};
  return fault;
}

DrawnFault norm_of_another_layer(Dice& dice, const FaultyModel& model) {
  const int layer = pick_layer(dice, model);
  const auto n = static_cast<size_t>(model.hp.n_layers);
  const auto other = static_cast<int>((static_cast<size_t>(layer) + 1 + dice.below(n - 1)) % n);
  constexpr auto in_a_layer = trace::kStagesWhere<[](const trace::StageRow& row) {
    return row.kind == trace::StageKind::kNorm && row.place == trace::StagePlace::kInLayer;
  }>;
  DrawnFault fault =
      at({pick_stage(dice, model, in_a_layer)}, {layer}, fmt::format("with the weight of layer {}", other));
  fault.change = with_norm_weight(
      [other](const Workbench& bench, const Place& place) { return bench.norm_weight(place.stage, other); });
  fault.causes = {"norm_weight"};
  return fault;
}

DrawnFault norm_of_another_stage(Dice& dice, const FaultyModel& model) {
  const bool first = dice.one_in(2);
  const Stage own = first ? Stage::kAttnNorm : Stage::kFfnNorm, other = first ? Stage::kFfnNorm : Stage::kAttnNorm;
  DrawnFault fault = at({own}, pick_layers(dice, model), fmt::format("with the weight of {}", other.name()));
  fault.change = with_norm_weight(
      [other](const Workbench& bench, const Place& place) { return bench.norm_weight(other, place.layer); });
  fault.causes = {"norm_weight"};
  return fault;
}

DrawnFault norm_epsilon(Dice& dice, const FaultyModel& model) {
  double epsilon = model.hp.norm_epsilon;
  while (std::abs(std::log(epsilon / model.hp.norm_epsilon)) < 0.5) {
    epsilon = dice.log_uniform(1e-6, 0.1);
  }
  DrawnFault fault = at_norm(dice, model, fmt::format("with an epsilon of {:.3g}", epsilon));
  fault.change = [epsilon](const Workbench& bench, const Place& place, Matrix& result) {
    result = bench.normed(bench.input(place), bench.norm_weight(place.stage, place.layer), epsilon);
  };
  fault.causes = {"norm_epsilon"};
  fault.figures = {figure({"epsilon", "norm_epsilon"}, epsilon)};
  fault.figures.front().own = model.hp.norm_epsilon;
  return fault;
}

DrawnFault norm_missing(Dice& dice, const FaultyModel& model) {
  const bool with_weight = dice.one_in(2);
  DrawnFault fault = at_norm(dice, model, with_weight ? "not normalised, only weighted" : "left out");
  fault.change = [with_weight](const Workbench& bench, const Place& place, Matrix& result) {
    const Matrix& x = bench.input(place);
    const std::vector<double>& weight = bench.norm_weight(place.stage, place.layer);
    for (size_t i = 0; i < x.values.size(); ++i) {
      result.values[i] = x.values[i] * (with_weight ? weight[i % x.n_features] : 1);
    }
  };
  fault.causes = {"norm_missing"};
  return fault;
}

DrawnFault norm_twice(Dice& dice, const FaultyModel& model) {
  DrawnFault fault = at_norm(dice, model, "applied twice");
  fault.change = [](const Workbench& bench, const Place& place, Matrix& result) {
    result = bench.normed(result, bench.norm_weight(place.stage, place.layer), bench.model().norm_epsilon);
  };
  fault.causes = {"norm_doubled"};
  return fault;
}

// --- activation

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double relu_squared(double x) { return x > 0 ? x * x : 0; }
double silu(double x) { return x * sigmoid(x); }

struct Curve {
  const char* name;
  double (*value)(double x);
};
constexpr Curve kCurves[] = {
    {"ReLU squared", relu_squared},
    {"SiLU", silu},
    {"ReLU", [](double x) { return std::max(x, 0.0); }},
    {"GELU", [](double x) { return x / 2 * (1 + std::erf(x / std::numbers::sqrt2)); }},
    {"GELU by tanh",
     [](double x) { return x / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x))); }},
    {"quick GELU", [](double x) { return x * sigmoid(1.702 * x); }},
    {"the sigmoid", sigmoid},
    {"tanh", [](double x) { return std::tanh(x); }},
    {"the identity", [](double x) { return x; }},
};

DrawnFault other_curve(Dice& dice, const FaultyModel& model) {
  const auto own = model.hp.relu_squared ? relu_squared : silu;
  const Curve* curve = &dice.pick(kCurves);
  while (curve->value == own) {
    curve = &dice.pick(kCurves);
  }
  DrawnFault fault = at({Stage::kFfnAct}, pick_layers(dice, model), fmt::format("with {}", curve->name));
  fault.change = [curve](const Workbench& bench, const Place&, Matrix& result) {
    for (size_t i = 0; i < result.values.size(); ++i) {
      result.values[i] = curve->value(bench.of(Stage::kGateProj).values[i]) * bench.of(Stage::kUpProj).values[i];
    }
  };
  fault.causes = {"activation_function"};
  return fault;
}

DrawnFault gate_clamped(Dice& dice, const FaultyModel& model) {
  const double limit = dice.log_uniform(0.2, 2);
  DrawnFault fault = at({Stage::kFfnAct}, pick_layers(dice, model), fmt::format("with the gate up to {:.3g}", limit));
  fault.change = [limit](const Workbench& bench, const Place&, Matrix& result) {
    for (size_t i = 0; i < result.values.size(); ++i) {
      const double gate = std::clamp(bench.of(Stage::kGateProj).values[i], -limit, limit);
      result.values[i] = bench.own_activation(gate) * bench.of(Stage::kUpProj).values[i];
    }
  };
  fault.causes = {"activation_function", "activation_clamp"};
  fault.figures = {figure({"limit", "clamp"}, limit)};
  return fault;
}

DrawnFault gate_for_up(Dice& dice, const FaultyModel& model) {
  DrawnFault fault = at({Stage::kFfnAct}, pick_layers(dice, model), "with gate and up exchanged");
  fault.change = [](const Workbench& bench, const Place&, Matrix& result) {
    for (size_t i = 0; i < result.values.size(); ++i) {
      result.values[i] =
          bench.own_activation(bench.of(Stage::kUpProj).values[i]) * bench.of(Stage::kGateProj).values[i];
    }
  };
  fault.causes = {"weights_swapped", "activation_function"};
  return fault;
}

// --- sums

// a * the residual stream + b * what a block adds to it.
DrawnFault sum_of(Dice& dice, const FaultyModel& model, double a, double b, const std::string& does) {
  DrawnFault fault = at({dice.one_in(2) ? Stage::kFfnInp : Stage::kOut}, pick_layers(dice, model), does);
  fault.change = [a, b](const Workbench& bench, const Place& place, Matrix& result) {
    const bool first = place.stage == Stage::kFfnInp;
    const Matrix& stream = first ? bench.layer_input(place.layer) : bench.of(Stage::kFfnInp);
    const Matrix& added = bench.of(first ? Stage::kOProj : Stage::kDownProj);
    for (size_t i = 0; i < result.values.size(); ++i) {
      result.values[i] = a * stream.values[i] + b * added.values[i];
    }
  };
  fault.causes = {"residual"};
  return fault;
}

DrawnFault addend_missing(Dice& dice, const FaultyModel& model) {
  const bool stream = dice.one_in(2);
  return sum_of(dice, model, stream ? 0 : 1, stream ? 1 : 0, stream ? "without the residual" : "without the block");
}

DrawnFault addend_scaled(Dice& dice, const FaultyModel& model) {
  const bool stream = dice.one_in(2);
  const double factor = dice.one_in(3) ? 2 : pick_factor(dice, 0.1, 10);
  DrawnFault fault = sum_of(dice, model, stream ? factor : 1, stream ? 1 : factor,
                            fmt::format("with the {} times {:.4g}", stream ? "residual" : "block", factor));
  fault.figures = {figure({"factor"}, factor)};
  return fault;
}

// The block is added to what went into it behind the norm, not before.
DrawnFault addend_from_the_norm(Dice& dice, const FaultyModel& model) {
  DrawnFault fault = at({dice.one_in(2) ? Stage::kFfnInp : Stage::kOut}, pick_layers(dice, model),
                        "with the norm's output for the residual");
  fault.change = [](const Workbench& bench, const Place& place, Matrix& result) {
    const bool first = place.stage == Stage::kFfnInp;
    const Matrix& stream = bench.of(first ? Stage::kAttnNorm : Stage::kFfnNorm);
    const Matrix& added = bench.of(first ? Stage::kOProj : Stage::kDownProj);
    for (size_t i = 0; i < result.values.size(); ++i) {
      result.values[i] = stream.values[i] + added.values[i];
    }
  };
  fault.causes = {"residual"};
  return fault;
}

// --- head

bool has_own_head(const FaultyModel& model) { return model.has_own_head(); }

DrawnFault head_tied(Dice&, const FaultyModel&) {
  DrawnFault fault = at({Stage::kLogits}, {}, "by the embeddings");
  fault.change = [](const Workbench& bench, const Place& place, Matrix& result) {
    const gguf::Tensor& embeddings = bench.embeddings();
    result = bench.product(bench.input(place), embeddings, Workbench::rows_of(embeddings));
  };
  fault.causes = {"head_tying"};
  return fault;
}

DrawnFault head_scaled(Dice& dice, const FaultyModel&) {
  const double factor = pick_factor(dice, 0.05, 20);
  DrawnFault fault = at({Stage::kLogits}, {}, fmt::format("times {:.4g}", factor));
  fault.change = times(factor);
  fault.causes = {"weight_scale", "logits_scale"};
  fault.figures = {figure({"factor"}, factor)};
  return fault;
}

DrawnFault head_capped(Dice& dice, const FaultyModel&) {
  const double cap = dice.log_uniform(1, 15);
  DrawnFault fault = at({Stage::kLogits}, {}, fmt::format("capped at {:.3g}", cap));
  fault.change = [cap](const Workbench&, const Place&, Matrix& result) {
    for (double& value : result.values) {
      value = cap * std::tanh(value / cap);
    }
  };
  fault.causes = {"logits_soft_cap", "soft_cap"};
  fault.figures = {figure({"cap", "soft_cap"}, cap)};
  return fault;
}

constexpr FaultVariant kGraphFaults[] = {
    {"embeddings", "another row", any_model, another_row},
    {"embeddings", "any factor", any_model, embeddings_scaled},
    {"norm weight", "ones", any_model, norm_of_ones},
    {"norm weight", "plus one", any_model, norm_plus_one},
    {"norm weight", "twice", any_model, norm_weight_twice},
    {"norm weight", "another layer's", has_layers, norm_of_another_layer},
    {"norm weight", "another stage's", any_model, norm_of_another_stage},
    {"norm", "epsilon", any_model, norm_epsilon},
    {"norm", "missing", any_model, norm_missing},
    {"norm", "twice", any_model, norm_twice},
    {"activation", "function", any_model, other_curve},
    {"activation", "clamp", any_model, gate_clamped},
    {"activation", "gate for up", any_model, gate_for_up},
    {"residual", "addend missing", any_model, addend_missing},
    {"residual", "addend scaled", any_model, addend_scaled},
    {"residual", "addend from the norm", any_model, addend_from_the_norm},
    {"head", "tied", has_own_head, head_tied},
    {"head", "any factor", any_model, head_scaled},
    {"head", "soft cap", any_model, head_capped},
};

}  // namespace

std::span<const FaultVariant> drawn_graph_faults() { return kGraphFaults; }

}  // namespace tern::oracle
