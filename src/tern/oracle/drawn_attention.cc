// What can go wrong with attention.
#include <cmath>

#include "tern/oracle/drawn_parts.h"

namespace tern::oracle {
namespace {

using namespace drawn;

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
  fault.causes = {{"attention_scale", {{"factor", factor}}}};
  return fault;
}

DrawnFault score_cap(Dice& dice, const FaultyModel& model) {
  const double cap = dice.log_uniform(0.5, 8);
  DrawnFault fault = at_scores(dice, model, fmt::format("with scores capped at {:.3g}", cap));
  fault.change = attending([cap](const Workbench&, const Place&, Workbench::AttentionRule& rule) {
    rule.shaped = [cap](double score) { return cap * std::tanh(score / cap); };
  });
  fault.causes = {{"attention_soft_cap", {{"cap", cap}}}};
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
  fault.causes = {{"causal_mask", {{"offset", more ? 1 : -1}}}};
  return fault;
}

DrawnFault mask_open(Dice& dice, const FaultyModel& model) {
  DrawnFault fault = at_scores(dice, model, "attend to all tokens");
  fault.change = attending([](const Workbench&, const Place&, Workbench::AttentionRule& rule) {
    rule.sees = [](size_t, size_t) { return true; };
  });
  fault.causes = {{"causal_mask", {{"mask", "none"}}}};
  return fault;
}

DrawnFault mask_window(Dice& dice, const FaultyModel& model) {
  const size_t window = 2 + dice.below(model.n_prompt / 2);
  DrawnFault fault = at_scores(dice, model, fmt::format("attend to the last {} tokens only", window));
  fault.change = attending([window](const Workbench&, const Place&, Workbench::AttentionRule& rule) {
    rule.sees = [window](size_t position, size_t key) { return key <= position && key + window > position; };
  });
  fault.causes = {{"causal_mask", {{"window", window}}}};
  return fault;
}

bool has_kv_heads(const FaultyModel& model) { return model.hp.n_kv_heads > 1; }

// Which key or value head each query head reads.
DrawnFault head_map(Dice& dice, const FaultyModel& model, Stage stage) {
  const auto n_kv = static_cast<size_t>(model.hp.n_kv_heads), group = static_cast<size_t>(model.hp.n_heads) / n_kv;
  const char* const maps[] = {"from the last on", "one on", "all the first", "in turns"};
  const size_t which = dice.below(group > 1 ? 4 : 3);
  DrawnFault fault = at({stage}, pick_layers(dice, model), fmt::format("with heads' partners {}", maps[which]));
  std::vector<size_t> map;
  for (size_t head = 0; head < static_cast<size_t>(model.hp.n_heads); ++head) {
    map.push_back(which == 0   ? n_kv - 1 - head / group
                  : which == 1 ? (head / group + 1) % n_kv
                  : which == 2 ? 0
                               : head % n_kv);
  }
  fault.change = attending([map](const Workbench&, const Place&, Workbench::AttentionRule& rule) {
    rule.kv_head = [map](size_t head) { return map[head]; };
  });
  fault.causes = {{"gqa_head_map", {{"map", map}}}};
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
  fault.causes = {{"kv_cache", {{"cache", stage == Stage::kAttnOut ? "value" : "key"}, {"passes", "decode"}}}};
  fault.causes.front().parameters.update(shifted ? Json{{"shift", -1}} : Json{{"own", "that of the token before"}});
  return fault;
}

constexpr FaultVariant kAttentionFaults[] = {
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
