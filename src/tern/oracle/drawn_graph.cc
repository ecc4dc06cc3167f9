// What can go wrong with embeddings, norms, the activation, residual sums and the head.
#include <cmath>
#include <map>
#include <numbers>
#include <numeric>

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
  fault.causes = {{"embedding_row", {{"offset", offset}}}};
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
  fault.causes = {{"embedding_scale", {{"factor", factor}}}};
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

// Each weight w becomes change(w), which causes call `used`.
struct NormWeightChange {
  const char *does, *used;
  double (*change)(double w);
};
DrawnFault norm_weight_changed(Dice& dice, const FaultyModel& model, const NormWeightChange& row) {
  DrawnFault fault = at_norm(dice, model, row.does);
  fault.change = with_norm_weight([change = row.change](const Workbench& bench, const Place& place) {
    std::vector<double> weight = bench.norm_weight(place.stage, place.layer);
    std::transform(weight.begin(), weight.end(), weight.begin(), change);
    return weight;
  });
  fault.causes = {{"norm_weight", {{"weight", weight_name(model, fault)}, {"used", row.used}}}};
  return fault;
}

DrawnFault norm_of_ones(Dice& dice, const FaultyModel& model) {
  return norm_weight_changed(dice, model, {"without its weight", "1", [](double) { return 1.0; }});
}
DrawnFault norm_plus_one(Dice& dice, const FaultyModel& model) {
  return norm_weight_changed(dice, model, {"with 1 added to its weight", "weight + 1", [](double w) { return w + 1; }});
}
DrawnFault norm_minus_one(Dice& dice, const FaultyModel& model) {
  return norm_weight_changed(dice, model,
                             {"with 1 taken from its weight", "weight - 1", [](double w) { return w - 1; }});
}
DrawnFault norm_weight_twice(Dice& dice, const FaultyModel& model) {
  return norm_weight_changed(dice, model,
                             {"with its weight applied twice", "weight^2", [](double w) { return w * w; }});
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
  fault.causes = {{"norm_weight", {{"used", weight_name(model, fault.stages.front(), other)}}}};
  return fault;
}

DrawnFault norm_of_another_stage(Dice& dice, const FaultyModel& model) {
  const bool first = dice.one_in(2);
  const Stage own = first ? Stage::kAttnNorm : Stage::kFfnNorm, other = first ? Stage::kFfnNorm : Stage::kAttnNorm;
  DrawnFault fault = at({own}, pick_layers(dice, model), fmt::format("with the weight of {}", other.name()));
  fault.change = with_norm_weight(
      [other](const Workbench& bench, const Place& place) { return bench.norm_weight(other, place.layer); });
  fault.causes = {{"norm_weight", {{"used", weight_name(model, other, fault.claimed_place().layer)}}}};
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
  fault.causes = {{"norm_epsilon", {{"epsilon", epsilon}}, model.hp.norm_epsilon}};
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
  fault.causes = {{"norm_missing", {{"missing", with_weight ? "norm" : "norm and weight"}}}};
  return fault;
}

DrawnFault norm_twice(Dice& dice, const FaultyModel& model) {
  DrawnFault fault = at_norm(dice, model, "applied twice");
  fault.change = [](const Workbench& bench, const Place& place, Matrix& result) {
    result = bench.normed(result, bench.norm_weight(place.stage, place.layer), bench.model().norm_epsilon);
  };
  fault.causes = {{"norm_doubled"}};
  return fault;
}

DrawnFault layer_norm(Dice& dice, const FaultyModel& model) {
  DrawnFault fault = at_norm(dice, model, "with the mean taken off first");
  fault.change = [](const Workbench& bench, const Place& place, Matrix& result) {
    Matrix x = bench.input(place);
    for (size_t t = 0; t < x.n_tokens; ++t) {
      const auto row = x.row(t);
      const double mean = std::accumulate(row.begin(), row.end(), 0.0) / static_cast<double>(row.size());
      std::transform(row.begin(), row.end(), row.begin(), [mean](double value) { return value - mean; });
    }
    result = bench.normed(x, bench.norm_weight(place.stage, place.layer), bench.model().norm_epsilon);
  };
  fault.causes = {{"norm_function", {{"function", "LayerNorm"}}}};
  return fault;
}

// The mean square is one over other values than a token's: those of all tokens, of a feature, or of a head's width.
DrawnFault norm_axis(Dice& dice, const FaultyModel& model) {
  enum { kAllTokens, kFeature, kPart };
  const size_t over = dice.below(3);
  const auto width = static_cast<size_t>(model.hp.head_dim);
  const char* const does[] = {"over all tokens", "over each feature's tokens", "over parts as wide as a head"};
  DrawnFault fault = at_norm(dice, model, does[over]);
  fault.change = [over, width](const Workbench& bench, const Place& place, Matrix& result) {
    const Matrix& x = bench.input(place);
    const std::vector<double>& weight = bench.norm_weight(place.stage, place.layer);
    const auto group_of = [&](size_t t, size_t i) {
      return over == kAllTokens ? 0 : over == kFeature ? i : (t * x.n_features + i) / width;
    };
    std::map<size_t, std::pair<double, double>> sums;  // of the squares in each group, and how many
    for (size_t t = 0; t < x.n_tokens; ++t) {
      for (size_t i = 0; i < x.n_features; ++i) {
        auto& [sum, n] = sums[group_of(t, i)];
        sum += x.row(t)[i] * x.row(t)[i];
        n += 1;
      }
    }
    for (size_t t = 0; t < x.n_tokens; ++t) {
      for (size_t i = 0; i < x.n_features; ++i) {
        const auto& [sum, n] = sums[group_of(t, i)];
        result.row(t)[i] = x.row(t)[i] / std::sqrt(sum / n + bench.model().norm_epsilon) * weight[i];
      }
    }
  };
  const Json stated[] = {"all tokens", "each feature's tokens", width};
  fault.causes = {{"norm_axis", {{"over", stated[over]}}}};
  return fault;
}

// --- activation

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double relu_squared(double x) { return x > 0 ? x * x : 0; }
double silu(double x) { return x * sigmoid(x); }

struct Curve {
  const char *name, *stated;  // as causes state it
  double (*value)(double x);
};
constexpr Curve kCurves[] = {
    {"ReLU squared", "relu_squared", relu_squared},
    {"SiLU", "silu", silu},
    {"ReLU", "relu", [](double x) { return std::max(x, 0.0); }},
    {"GELU", "gelu", [](double x) { return x / 2 * (1 + std::erf(x / std::numbers::sqrt2)); }},
    {"GELU by tanh", "gelu_tanh",
     [](double x) { return x / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x))); }},
    {"quick GELU", "gelu_quick", [](double x) { return x * sigmoid(1.702 * x); }},
    {"the sigmoid", "sigmoid", sigmoid},
    {"tanh", "tanh", [](double x) { return std::tanh(x); }},
    {"the identity", "identity", [](double x) { return x; }},
};

using Combine = std::function<double(const Workbench& bench, double gate, double up)>;
DrawnFault activated_by(Dice& dice, const FaultyModel& model, const std::string& does, Combine combine) {
  DrawnFault fault = at({Stage::kFfnAct}, pick_layers(dice, model), does);
  fault.change = [combine = std::move(combine)](const Workbench& bench, const Place&, Matrix& result) {
    for (size_t i = 0; i < result.values.size(); ++i) {
      result.values[i] = combine(bench, bench.of(Stage::kGateProj).values[i], bench.of(Stage::kUpProj).values[i]);
    }
  };
  return fault;
}

DrawnFault other_curve(Dice& dice, const FaultyModel& model) {
  const auto own = model.hp.relu_squared ? relu_squared : silu;
  const Curve* curve = &dice.pick(kCurves);
  while (curve->value == own) {
    curve = &dice.pick(kCurves);
  }
  DrawnFault fault =
      activated_by(dice, model, fmt::format("with {}", curve->name),
                   [curve](const Workbench&, double gate, double up) { return curve->value(gate) * up; });
  fault.causes = {{"activation_function", {{"function", curve->stated}}}};
  return fault;
}

DrawnFault clamped(Dice& dice, const FaultyModel& model) {
  const double limit = dice.log_uniform(0.2, 2);
  const char* const parts[] = {"gate", "up", "output"};
  const size_t part = dice.below(3);
  DrawnFault fault = activated_by(dice, model, fmt::format("with the {} up to {:.3g}", parts[part], limit),
                                  [limit, part](const Workbench& bench, double gate, double up) {
                                    const auto cut = [&](size_t which, double value) {
                                      return part == which ? std::clamp(value, -limit, limit) : value;
                                    };
                                    return cut(2, bench.own_activation(cut(0, gate)) * cut(1, up));
                                  });
  fault.causes = {{"activation_clamp", {{"clamped", parts[part]}, {"limit", limit}}}};
  if (part == 0 && !model.hp.relu_squared) {  // which is 0 for all gates below 0
    fault.causes.front().parameters["sides"] = 2;
  }
  return fault;
}

DrawnFault gate_for_up(Dice& dice, const FaultyModel& model) {
  DrawnFault fault =
      activated_by(dice, model, "with gate and up exchanged",
                   [](const Workbench& bench, double gate, double up) { return bench.own_activation(up) * gate; });
  fault.causes = {{"weights_swapped", {{"exchanged", {"gate", "up"}}}}};
  return fault;
}

// --- sums

// What is added; nullopt: what went into the layer.
using Addend = std::optional<Stage>;

std::string name_of(const Addend& addend) { return addend ? std::string(addend->name()) : "what went into the layer"; }

const Matrix& values_of(const Addend& addend, const Workbench& bench, const Place& place) {
  return addend ? bench.of(*addend) : bench.layer_input(place.layer);
}

// A sum of the residual stream and what a block adds to it, and what is done to it.
struct Sum {
  Stage stage = Stage::kOut;
  std::vector<int> layers;
  Addend stream, block;
  double stream_factor = 1, block_factor = 1;
};

Sum pick_sum(Dice& dice, const FaultyModel& model) {
  const bool first = dice.one_in(2);
  return {first ? Stage::kFfnInp : Stage::kOut, pick_layers(dice, model), first ? Addend() : Stage::kFfnInp,
          first ? Stage::kOProj : Stage::kDownProj};
}

DrawnFault summed(const Sum& sum, const std::string& does, const Json& parameters) {
  DrawnFault fault = at({sum.stage}, sum.layers, does);
  fault.change = [sum](const Workbench& bench, const Place& place, Matrix& result) {
    const Matrix &stream = values_of(sum.stream, bench, place), &block = values_of(sum.block, bench, place);
    for (size_t i = 0; i < result.values.size(); ++i) {
      result.values[i] = sum.stream_factor * stream.values[i] + sum.block_factor * block.values[i];
    }
  };
  fault.causes = {{"residual", parameters}};
  return fault;
}

DrawnFault addend_times(Dice& dice, const FaultyModel& model, double factor) {
  Sum sum = pick_sum(dice, model);
  const bool of_stream = dice.one_in(2);
  (of_stream ? sum.stream_factor : sum.block_factor) = factor;
  const std::string name = name_of(of_stream ? sum.stream : sum.block);
  return summed(sum, fmt::format("with {} times {:.4g}", name, factor), {{"addend", name}, {"factor", factor}});
}

DrawnFault addend_missing(Dice& dice, const FaultyModel& model) { return addend_times(dice, model, 0); }

DrawnFault addend_scaled(Dice& dice, const FaultyModel& model) {
  return addend_times(dice, model, dice.one_in(3) ? 2 : pick_factor(dice, 0.1, 10));
}

DrawnFault addend_replaced(Sum sum, bool of_stream, const Addend& taken) {
  Addend& addend = of_stream ? sum.stream : sum.block;
  const std::string name = name_of(addend);
  addend = taken;
  return summed(sum, fmt::format("with {} for {}", name_of(taken), name),
                {{"addend", name}, {"taken", name_of(taken)}});
}

// The block is added to what went into it behind the norm, not before.
DrawnFault addend_from_the_norm(Dice& dice, const FaultyModel& model) {
  const Sum sum = pick_sum(dice, model);
  return addend_replaced(sum, true, sum.stage == Stage::kFfnInp ? Stage::kAttnNorm : Stage::kFfnNorm);
}

// Steps of the layer are skipped, or the stream is one of long ago.
DrawnFault addend_from_elsewhere(Dice& dice, const FaultyModel& model) {
  Sum sum = pick_sum(dice, model);
  const bool of_stream = dice.one_in(2);
  if (sum.stage == Stage::kOut) {
    DrawnFault fault = addend_replaced(sum, of_stream, of_stream ? Addend() : Stage::kOProj);
    if (of_stream && sum.layers == std::vector{0}) {  // the embeddings are what went into the first layer
      fault.causes.push_back(fault.causes.front());
      fault.causes.back().parameters["taken"] = name_of(Stage::kEmbeddings);
    }
    return fault;
  }
  if (of_stream) {
    sum.layers = {1 + static_cast<int>(dice.below(static_cast<size_t>(model.hp.n_layers) - 1))};
    return addend_replaced(sum, true, Stage::kEmbeddings);
  }
  return addend_replaced(sum, false, Stage::kAttnOut);
}

// --- head

bool has_own_head(const FaultyModel& model) { return model.has_own_head(); }

DrawnFault head_tied(Dice&, const FaultyModel& model) {
  DrawnFault fault = at({Stage::kLogits}, {}, "by the embeddings");
  fault.change = [](const Workbench& bench, const Place& place, Matrix& result) {
    const gguf::Tensor& embeddings = bench.embeddings();
    result = bench.product(bench.input(place), embeddings, Workbench::rows_of(embeddings));
  };
  fault.causes = {{"head_tying", {{"read", weight_name(model, Stage::kEmbeddings, -1)}}}};
  return fault;
}

DrawnFault head_scaled(Dice& dice, const FaultyModel&) {
  const double factor = pick_factor(dice, 0.05, 20);
  DrawnFault fault = at({Stage::kLogits}, {}, fmt::format("times {:.4g}", factor));
  fault.change = times(factor);
  fault.causes = {{"weight_scale", {{"factor", factor}}}};
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
  fault.causes = {{"logits_soft_cap", {{"cap", cap}}}};
  return fault;
}

constexpr FaultVariant kGraphFaults[] = {
    {"embeddings", "another row", any_model, another_row},
    {"embeddings", "any factor", any_model, embeddings_scaled},
    {"norm weight", "ones", any_model, norm_of_ones},
    {"norm weight", "plus one", any_model, norm_plus_one},
    {"norm weight", "minus one", any_model, norm_minus_one},
    {"norm weight", "twice", any_model, norm_weight_twice},
    {"norm weight", "another layer's", has_layers, norm_of_another_layer},
    {"norm weight", "another stage's", any_model, norm_of_another_stage},
    {"norm", "epsilon", any_model, norm_epsilon, true},
    {"norm", "missing", any_model, norm_missing},
    {"norm", "twice", any_model, norm_twice},
    {"norm", "LayerNorm", any_model, layer_norm},
    {"norm", "axis", any_model, norm_axis},
    {"activation", "function", any_model, other_curve},
    {"activation", "clamp", any_model, clamped, true},
    {"activation", "gate for up", any_model, gate_for_up},
    {"residual", "addend missing", any_model, addend_missing},
    {"residual", "addend scaled", any_model, addend_scaled},
    {"residual", "addend from the norm", any_model, addend_from_the_norm},
    {"residual", "addend from elsewhere", has_layers, addend_from_elsewhere},
    {"head", "tied", has_own_head, head_tied},
    {"head", "any factor", any_model, head_scaled},
    {"head", "soft cap", any_model, head_capped},
};

}  // namespace

std::span<const FaultVariant> drawn_graph_faults() { return kGraphFaults; }

}  // namespace tern::oracle
