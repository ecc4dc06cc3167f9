#include "tern/estimate/score_faults.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tern/estimate/numerics.h"

namespace tern::estimate {
namespace {

Visible up_to(size_t last, size_t n_keys) { return {0, std::clamp<size_t>(last, 1, n_keys)}; }

ScoreFault mask_fault(const oracle::Hyperparameters& hp, std::string id, Json parameters, std::string says, Mask mask,
                      double simplicity = kNothingMeasured) {
  ScoreRule rule = textbook_scores(hp);
  rule.mask = std::move(mask);
  return score_fault(std::move(id), std::move(parameters), std::move(says), std::move(rule), simplicity);
}

}  // namespace

ScoreFault score_fault(std::string id, Json parameters, std::string says, ScoreRule rule, double simplicity,
                       ScoreInputsOf inputs) {
  if (!inputs) {
    inputs = [](const StageFacts& facts) { return score_inputs(facts); };
  }
  Proposal proposal{std::move(id), std::move(parameters), std::move(says),
                    [rule, inputs](const StageFacts& facts) {
                      const std::optional<ScoreInputs> in = inputs(facts);
                      return in ? std::optional(scores(*in, rule)) : std::nullopt;
                    },
                    simplicity};
  return {std::move(proposal), std::move(rule), std::move(inputs), false};
}

ScoreFault with_values_too(const ScoreFault& fault) {
  constexpr double kLess = 0.99;  // where only the scores are wrong, they alone are named
  ScoreFault wider = fault;
  wider.of_values_too = true;
  wider.proposal.parameters["of"] = "keys and values";
  wider.proposal.says += ", and so of the values";
  wider.proposal.simplicity *= kLess;
  wider.proposal.also = {trace::StageKind::kMixing};
  wider.proposal.recompute = [keys = fault.proposal.recompute, rule = fault.rule](const StageFacts& facts) {
    return facts.id().stage.kind() == trace::StageKind::kMixing ? mixed_values(facts, rule.key_head, rule.slot)
                                                                : keys(facts);
  };
  return wider;
}

ScoreFault scale_fault(const oracle::Hyperparameters& hp, double scale) {
  ScoreRule rule = textbook_scores(hp);
  const double expected = rule.scale;
  rule.scale = scale;
  ScoreFault fault = score_fault(
      "attention_scale", {{"scale", scale}, {"factor", scale / expected}, {"expected", expected}},
      fmt::format("q.k is multiplied by {:.6g} instead of {:.6g}", scale, expected), std::move(rule), kNumberMeasured);
  fault.proposal.amplifies = std::max(std::abs(scale / expected), 1.0);  // what is off in q.k
  return fault;
}

ScoreFault soft_cap_fault(const oracle::Hyperparameters& hp, double cap) {
  ScoreRule rule = textbook_scores(hp);
  rule.soft_cap = cap;
  return score_fault("attention_soft_cap", {{"cap", cap}, {"expected", nullptr}},
                     fmt::format("scores are capped softly at {:.6g}", cap), std::move(rule), kNumberMeasured);
}

ScoreFault mask_offset_fault(const oracle::Hyperparameters& hp, int offset) {
  const std::string says = offset < 0
                               ? fmt::format("a token does not see the last {} of those before it and itself", -offset)
                               : fmt::format("a token sees {} behind it", offset);
  return mask_fault(hp, "causal_mask", {{"offset", offset}, {"expected", 0}}, says,
                    [offset](size_t position, size_t n_keys, bool) {
                      const int64_t last = static_cast<int64_t>(position) + 1 + offset;
                      return up_to(static_cast<size_t>(std::max<int64_t>(last, 1)), n_keys);
                    });
}

ScoreFault window_fault(const oracle::Hyperparameters& hp, size_t window) {
  return mask_fault(
      hp, "causal_mask", {{"window", window}, {"expected", nullptr}},
      fmt::format("a token sees only the last {}, itself included", window),
      [window](size_t position, size_t n_keys, bool) {
        return Visible{position + 1 > window ? position + 1 - window : 0, std::min(position + 1, n_keys)};
      },
      kNumberMeasured);
}

std::optional<ScoreInputs> score_inputs_turned(const StageFacts& facts, const RopeRule& rule, Turned which) {
  std::optional<ScoreInputs> in = score_inputs(facts, &rule);
  if (!in || which == Turned::kBoth) {
    return in;
  }
  std::optional<ScoreInputs> recorded = score_inputs(facts);
  if (recorded) {
    (which == Turned::kQueries ? recorded->q : recorded->k) = std::move(which == Turned::kQueries ? in->q : in->k);
  }
  return recorded;
}

ScoreFault rope_fault(const oracle::Hyperparameters& hp, RopeFault fault, Turned which) {
  if (which != Turned::kBoth) {
    const char* const what = which == Turned::kQueries ? "queries" : "keys";
    fault.parameters["of"] = what;
    fault.says += fmt::format(", of {} alone", what);
  }
  ScoreFault shown = score_fault(std::move(fault.id), std::move(fault.parameters), fault.says + ", as the scores show",
                                 textbook_scores(hp), kNothingMeasured,
                                 [rule = std::move(fault.rule), which](const StageFacts& facts) {
                                   return score_inputs_turned(facts, rule, which);
                                 });
  shown.proposal.place = which == Turned::kKeys ? trace::Stage::kKRope : trace::Stage::kQRope;
  return shown;
}

std::vector<ScoreFault> usual_mask_faults(const oracle::Hyperparameters& hp) {
  std::vector<ScoreFault> faults;
  const auto add = [&](const char* id, Json parameters, const char* says, Mask mask) {
    faults.push_back(mask_fault(hp, id, std::move(parameters), says, std::move(mask)));
  };
  for (const int offset : {-1, 1, 2}) {
    faults.push_back(mask_offset_fault(hp, offset));
  }
  add("causal_mask", {{"mask", "none"}}, "every token sees all keys",
      [](size_t, size_t n_keys, bool) { return Visible{0, n_keys}; });
  add("causal_mask", {{"hidden", "first key"}}, "the first key is hidden from all but the first token",
      [](size_t position, size_t n_keys, bool) {
        return Visible{position > 0 ? size_t{1} : 0, std::min(position + 1, n_keys)};
      });
  add("causal_mask", {{"mask", "reversed"}}, "a token sees itself and those behind it",
      [](size_t position, size_t n_keys, bool) { return Visible{position, n_keys}; });
  add("kv_cache", {{"cache", "key"}, {"own", "not seen"}, {"passes", "decode"}},
      "a decode step does not see its own key",
      [](size_t position, size_t n_keys, bool is_decode) { return up_to(position + (is_decode ? 0 : 1), n_keys); });
  add("kv_cache", {{"cache", "key"}, {"past", "not seen"}, {"passes", "decode"}},
      "a decode step sees its own key alone", [](size_t position, size_t n_keys, bool is_decode) {
        return Visible{is_decode ? position : 0, std::min(position + 1, n_keys)};
      });
  return faults;
}

std::vector<ScoreFault> usual_score_faults(const oracle::Hyperparameters& hp, size_t n_keys, bool is_decode) {
  const ScoreRule textbook = textbook_scores(hp);
  std::vector<ScoreFault> faults;
  for (CacheFault& fault : usual_cache_faults("key", n_keys, is_decode)) {
    ScoreRule rule = textbook;
    rule.slot = std::move(fault.slot);
    faults.push_back(score_fault("kv_cache", std::move(fault.parameters), std::move(fault.says), std::move(rule)));
    faults.push_back(with_values_too(faults.back()));
  }
  for (HeadMap& map : usual_head_maps(static_cast<size_t>(hp.n_heads), static_cast<size_t>(hp.n_kv_heads))) {
    ScoreRule rule = textbook;
    rule.key_head = map.map;
    faults.push_back(score_fault("gqa_head_map",
                                 {{"map", map.map}, {"heads", map.name}, {"expected", textbook.key_head}},
                                 std::move(map.says), std::move(rule)));
    faults.push_back(with_values_too(faults.back()));
  }
  struct BeforeRope {
    bool queries, keys;
    const char* what;
  };
  for (const BeforeRope& before :
       {BeforeRope{true, true, "queries and keys"}, {true, false, "queries"}, {false, true, "keys"}}) {
    faults.push_back(score_fault(
        "rope_missing", {{"of", before.what}}, fmt::format("the scores take the {} from before RoPE", before.what),
        textbook, kNothingMeasured,
        [before](const StageFacts& facts) { return score_inputs_before_rope(facts, before.queries, before.keys); }));
  }
  return faults;
}

}  // namespace tern::estimate
