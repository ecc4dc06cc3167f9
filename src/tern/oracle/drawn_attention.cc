// What can go wrong with RoPE and attention.
#include <cmath>
#include <numbers>

#include "tern/oracle/drawn_parts.h"

namespace tern::oracle {
namespace {

using namespace drawn;

// --- RoPE

// Queries and keys, or one of them.
DrawnFault at_rope(Dice& dice, const FaultyModel& model, const std::string& does) {
  const std::vector<Stage> which[] = {
      {Stage::kQRope, Stage::kKRope}, {Stage::kQRope, Stage::kKRope}, {Stage::kQRope}, {Stage::kKRope}};
  return at(dice.pick(which), pick_layers(dice, model), does);
}

using ChangeRope = std::function<void(const Workbench& bench, Workbench::RopeRule& rule)>;
Workbench::Change turning(ChangeRope change) {
  return [change = std::move(change)](const Workbench& bench, const Place& place, Matrix& result) {
    Workbench::RopeRule rule = bench.rope_rule();
    change(bench, rule);
    result = bench.turned_by(bench.of(place.stage == Stage::kQRope ? Stage::kQProj : Stage::kKProj), rule);
  };
}

DrawnFault rope_base(Dice& dice, const FaultyModel& model) {
  double base = model.hp.rope_base;
  while (std::abs(std::log(base / model.hp.rope_base)) < 0.2) {
    base = dice.log_uniform(1000, 1e7);
  }
  DrawnFault fault = at_rope(dice, model, fmt::format("with the base {:.6g}", base));
  fault.change = turning([base](const Workbench& bench, Workbench::RopeRule& rule) {
    rule.angle = [base, width = static_cast<double>(bench.model().head_dim)](double position, size_t pair) {
      return position * std::pow(base, -2.0 * static_cast<double>(pair) / width);
    };
  });
  fault.causes = {"rope_base"};
  fault.figures = {figure({"rope_base"}, base)};
  return fault;
}

DrawnFault rope_scaled(Dice& dice, const FaultyModel& model) {
  const double factor = dice.one_in(4) ? dice.log_uniform(0.2, 0.8) : dice.log_uniform(1.25, 32);
  DrawnFault fault = at_rope(dice, model, fmt::format("with positions divided by {:.4g}", factor));
  fault.change = turning([factor](const Workbench&, Workbench::RopeRule& rule) {
    rule.angle = [factor, own = rule.angle](double position, size_t pair) { return own(position / factor, pair); };
  });
  fault.causes = {"rope_scaling"};
  fault.figures = {figure({"factor", "rope_scaling"}, factor)};
  return fault;
}

// Llama 3's: pairs that turn slowly are divided by a factor, those that turn fast are not, the others are in between.
DrawnFault rope_scaled_by_wavelength(Dice& dice, const FaultyModel& model) {
  const double factor = dice.log_uniform(2, 16), trained = dice.log_uniform(32, 8192), slow = 1, fast = 4;
  DrawnFault fault = at_rope(dice, model, fmt::format("scaled as in Llama 3: {:.3g}, {:.0f} tokens", factor, trained));
  fault.change = turning([factor, trained, slow, fast](const Workbench&, Workbench::RopeRule& rule) {
    rule.angle = [factor, trained, slow, fast, own = rule.angle](double position, size_t pair) {
      const double turns = trained * own(1, pair) / (2 * std::numbers::pi);
      const double share = std::clamp((turns - slow) / (fast - slow), 0.0, 1.0);
      return own(position, pair) * ((1 - share) / factor + share);
    };
  });
  fault.causes = {"rope_scaling"};
  return fault;
}

DrawnFault rope_offset(Dice& dice, const FaultyModel& model) {
  const int offset = static_cast<int>(1 + dice.below(6)) * (dice.one_in(2) ? 1 : -1);
  DrawnFault fault = at_rope(dice, model, fmt::format("with positions {:+}", offset));
  fault.change = turning([offset](const Workbench&, Workbench::RopeRule& rule) {
    rule.angle = [offset, own = rule.angle](double position, size_t pair) { return own(position + offset, pair); };
  });
  fault.causes = {"rope_position"};
  fault.figures = {figure({"offset", "position_offset"}, offset)};
  return fault;
}

DrawnFault rope_behind_in_decode(Dice& dice, const FaultyModel& model) {
  DrawnFault fault = at_rope(dice, model, "a position behind in decode steps");
  fault.only_decode = true;
  fault.change = turning([](const Workbench&, Workbench::RopeRule& rule) {
    rule.angle = [own = rule.angle](double position, size_t pair) { return own(position - 1, pair); };
  });
  fault.causes = {"rope_position"};
  return fault;
}

DrawnFault rope_pairing(Dice& dice, const FaultyModel& model) {
  DrawnFault fault = at_rope(dice, model, "with the other pairing");
  fault.change = turning([](const Workbench&, Workbench::RopeRule& rule) { rule.neox_pairs = !rule.neox_pairs; });
  fault.causes = {"rope_pairing"};
  return fault;
}

DrawnFault rope_of_a_part(Dice& dice, const FaultyModel& model) {
  const auto half = static_cast<size_t>(model.hp.head_dim / 2);
  const size_t n_pairs = half / 8 * (1 + dice.below(6));
  DrawnFault fault = at_rope(dice, model, fmt::format("with {} of {} pairs turned", n_pairs, half));
  fault.change = turning([n_pairs](const Workbench&, Workbench::RopeRule& rule) { rule.n_pairs = n_pairs; });
  fault.causes = {"rope_partial", "rope_pairing"};
  return fault;
}

// --- attention

using ChangeAttention = std::function<void(const Workbench& bench, const Place& place, Workbench::AttentionRule& rule)>;
Workbench::Change attending(ChangeAttention change) {
  return [change = std::move(change)](const Workbench& bench, const Place& place, Matrix& result) {
    Workbench::AttentionRule rule = bench.attention_rule();
    change(bench, place, rule);
    result = place.stage == Stage::kAttnOut ? bench.mixed_by(place.layer, rule) : bench.scores_by(place.layer, rule);
  };
}

DrawnFault at_scores(Dice& dice, const FaultyModel& model, const std::string& does) {
  return at({Stage::kAttnScoresSoftmax}, pick_layers(dice, model), does);
}

DrawnFault score_scale(Dice& dice, const FaultyModel& model) {
  const double root = std::sqrt(static_cast<double>(model.hp.head_dim));
  const double factors[] = {root, 1 / root, pick_factor(dice, 0.1, 10), pick_factor(dice, 0.1, 10)};
  const double factor = dice.pick(factors);
  DrawnFault fault = at_scores(dice, model, fmt::format("with scores times {:.4g}", factor));
  fault.change =
      attending([factor](const Workbench&, const Place&, Workbench::AttentionRule& rule) { rule.divisor /= factor; });
  fault.causes = {"attention_scale"};
  ExpectedFigure stated = figure({"factor"}, factor);
  stated.any_of.emplace_back("scale", factor / root);
  stated.any_of.emplace_back("divisor", root / factor);
  fault.figures = {stated};
  return fault;
}

DrawnFault score_cap(Dice& dice, const FaultyModel& model) {
  const double cap = dice.log_uniform(0.5, 8);
  DrawnFault fault = at_scores(dice, model, fmt::format("with scores capped at {:.3g}", cap));
  fault.change = attending([cap](const Workbench&, const Place&, Workbench::AttentionRule& rule) {
    rule.shaped = [cap](double score) { return cap * std::tanh(score / cap); };
  });
  fault.causes = {"attention_soft_cap", "soft_cap"};
  fault.figures = {figure({"cap", "soft_cap"}, cap)};
  return fault;
}

DrawnFault mask_off_by_one(Dice& dice, const FaultyModel& model) {
  const bool more = dice.one_in(2);
  DrawnFault fault = at_scores(dice, model, more ? "attend to the token behind" : "do not attend to the token itself");
  fault.change = attending([more](const Workbench&, const Place&, Workbench::AttentionRule& rule) {
    rule.sees = [more](size_t position, size_t key) {
      return key < position || (more && key <= position + 1) || (position == 0 && key == 0);
    };
  });
  fault.causes = {"causal_mask"};
  return fault;
}

DrawnFault mask_open(Dice& dice, const FaultyModel& model) {
  DrawnFault fault = at_scores(dice, model, "attend to all tokens");
  fault.change = attending([](const Workbench&, const Place&, Workbench::AttentionRule& rule) {
    rule.sees = [](size_t, size_t) { return true; };
  });
  fault.causes = {"causal_mask"};
  return fault;
}

DrawnFault mask_window(Dice& dice, const FaultyModel& model) {
  const size_t window = 2 + dice.below(model.n_prompt / 2);
  DrawnFault fault = at_scores(dice, model, fmt::format("attend to the last {} tokens only", window));
  fault.change = attending([window](const Workbench&, const Place&, Workbench::AttentionRule& rule) {
    rule.sees = [window](size_t position, size_t key) { return key <= position && key + window > position; };
  });
  fault.causes = {"causal_mask", "attention_window"};
  fault.figures = {figure({"window"}, window)};
  return fault;
}

bool has_kv_heads(const FaultyModel& model) { return model.hp.n_kv_heads > 1; }

// Which key or value head each query head reads.
DrawnFault head_map(Dice& dice, const FaultyModel& model, Stage stage) {
  const auto n_kv = static_cast<size_t>(model.hp.n_kv_heads), group = static_cast<size_t>(model.hp.n_heads) / n_kv;
  const char* const maps[] = {"from the last on", "one on", "all the first", "in turns"};
  const size_t which = dice.below(group > 1 ? 4 : 3);
  DrawnFault fault = at({stage}, pick_layers(dice, model), fmt::format("with heads' partners {}", maps[which]));
  fault.change = attending([=](const Workbench&, const Place&, Workbench::AttentionRule& rule) {
    rule.kv_head = [=](size_t head) {
      return which == 0   ? n_kv - 1 - head / group
             : which == 1 ? (head / group + 1) % n_kv
             : which == 2 ? 0
                          : head % n_kv;
    };
  });
  fault.causes = {"gqa_head_map"};
  if (group == 1) {  // no heads share keys, so it is their order
    fault.causes.emplace_back("head_order");
  }
  return fault;
}
DrawnFault key_heads(Dice& dice, const FaultyModel& model) { return head_map(dice, model, Stage::kAttnScoresSoftmax); }
DrawnFault value_heads(Dice& dice, const FaultyModel& model) { return head_map(dice, model, Stage::kAttnOut); }

// A decode step finds other keys, or other values, than those that were put into the cache.
DrawnFault cache(Dice& dice, const FaultyModel& model) {
  const bool shifted = dice.one_in(2);
  const Stage stage = dice.one_in(2) ? Stage::kAttnScoresSoftmax : Stage::kAttnOut;
  DrawnFault fault = at({stage}, pick_layers(dice, model),
                        shifted ? "with the cache read one place off in decode steps"
                                : "with the entry before in place of a decode step's own");
  fault.only_decode = true;
  fault.change = attending([shifted](const Workbench&, const Place&, Workbench::AttentionRule& rule) {
    rule.cache_slot = [shifted](size_t position, size_t key) {
      return shifted ? std::max<size_t>(key, 1) - 1 : std::min(key, position - 1);
    };
  });
  fault.causes = {"kv_cache"};
  return fault;
}

constexpr FaultVariant kAttentionFaults[] = {
    {"RoPE angles", "base", any_model, rope_base},
    {"RoPE angles", "linear scaling", any_model, rope_scaled},
    {"RoPE angles", "Llama 3's scaling", any_model, rope_scaled_by_wavelength},
    {"RoPE angles", "offset", any_model, rope_offset},
    {"RoPE angles", "behind in decode steps", any_model, rope_behind_in_decode},
    {"RoPE pairs", "pairing", any_model, rope_pairing},
    {"RoPE pairs", "part of the head", any_model, rope_of_a_part},
    {"scores", "scale", any_model, score_scale},
    {"scores", "soft cap", any_model, score_cap},
    {"mask", "off by one", any_model, mask_off_by_one},
    {"mask", "open", any_model, mask_open},
    {"mask", "window", any_model, mask_window},
    {"heads and cache", "key heads", has_kv_heads, key_heads},
    {"heads and cache", "value heads", has_kv_heads, value_heads},
    {"heads and cache", "cache", any_model, cache},
};

}  // namespace

std::span<const FaultVariant> drawn_attention_faults() { return kAttentionFaults; }

}  // namespace tern::oracle
