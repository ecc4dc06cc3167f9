// Attention probabilities: which head met which, at what scale, who sees whom, and which keys stood in the cache.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tern/base/median.h"
#include "tern/estimate/numerics.h"
#include "tern/estimate/score_rule.h"

namespace tern::estimate {
namespace {

using Values = std::vector<double>;
using Inputs = std::function<std::optional<ScoreInputs>(const StageFacts& facts)>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kLeast = 1e-30;  // smaller probabilities are left out: float32 ends soon below

// A mask that is got wrong.
struct MaskFault {
  std::string id;
  Json parameters;
  std::string says;
  Mask mask;
  double simplicity = kNothingMeasured;
};

Visible up_to(size_t last, size_t n_keys) { return {0, std::clamp<size_t>(last, 1, n_keys)}; }

MaskFault offset_mask(int offset) {
  const std::string says = offset < 0 ? fmt::format("a token does not see the last {} before and with itself", -offset)
                                      : fmt::format("a token sees {} behind it", offset);
  return {"causal_mask", {{"offset", offset}, {"expected", 0}}, says, [offset](size_t position, size_t n_keys, bool) {
            return up_to(static_cast<size_t>(std::max<int64_t>(static_cast<int64_t>(position) + 1 + offset, 1)),
                         n_keys);
          }};
}

MaskFault window_mask(size_t window) {
  return {"causal_mask",
          {{"window", window}, {"expected", nullptr}},
          fmt::format("a token sees only the last {}, itself included", window),
          [window](size_t position, size_t n_keys, bool) {
            return Visible{position + 1 > window ? position + 1 - window : 0, std::min(position + 1, n_keys)};
          },
          kNumberMeasured};
}

std::vector<MaskFault> usual_masks() {
  std::vector<MaskFault> masks = {offset_mask(-1), offset_mask(1), offset_mask(2)};
  masks.push_back({"causal_mask", {{"mask", "none"}}, "every token sees all keys", [](size_t, size_t n_keys, bool) {
                     return Visible{0, n_keys};
                   }});
  masks.push_back({"causal_mask",
                   {{"hidden", "first key"}},
                   "the first key is hidden from all but the first token",
                   [](size_t position, size_t n_keys, bool) {
                     return Visible{position > 0 ? size_t{1} : 0, std::min(position + 1, n_keys)};
                   }});
  masks.push_back({"causal_mask",
                   {{"mask", "reversed"}},
                   "a token sees itself and those behind it",
                   [](size_t position, size_t n_keys, bool) {
                     return Visible{position, n_keys};
                   }});
  masks.push_back(
      {"kv_cache",
       {{"cache", "key"}, {"own", "not seen"}, {"passes", "decode"}},
       "a decode step does not see its own key",
       [](size_t position, size_t n_keys, bool is_decode) { return up_to(position + (is_decode ? 0 : 1), n_keys); }});
  masks.push_back({"kv_cache",
                   {{"cache", "key"}, {"past", "not seen"}, {"passes", "decode"}},
                   "a decode step sees its own key alone",
                   [](size_t position, size_t n_keys, bool is_decode) {
                     return Visible{is_decode ? position : 0, std::min(position + 1, n_keys)};
                   }});
  return masks;
}

class Search {
 public:
  Search(const StageFacts& facts, ScoreInputs in)
      : facts_(facts), textbook_(textbook_scores(facts.steps().hyperparameters())), in_(std::move(in)) {}

  std::vector<Proposal> usual() {
    propose_usual();
    return std::move(proposals_);
  }

  std::vector<Proposal> run() {
    propose_usual();
    if (facts_.is()) {
      measure(*facts_.is());
    } else if (facts_.rms()) {
      solve(*facts_.rms());
    }
    return std::move(proposals_);
  }

 private:
  void add(
      std::string id, Json parameters, std::string says, ScoreRule rule, double simplicity = kNothingMeasured,
      Inputs inputs = [](const StageFacts& facts) { return score_inputs(facts); }) {
    proposals_.push_back({std::move(id), std::move(parameters), std::move(says),
                          [rule = std::move(rule), inputs = std::move(inputs)](const StageFacts& facts) {
                            const std::optional<ScoreInputs> in = inputs(facts);
                            return in ? std::optional(scores(*in, rule)) : std::nullopt;
                          },
                          simplicity});
  }
  void add_scale(double scale, double simplicity) {
    proposals_.push_back(scale_fault(scale, textbook_.scale));
    proposals_.back().simplicity = simplicity;
  }
  void add_soft_cap(double cap, double simplicity) {
    proposals_.push_back(soft_cap_fault(cap));
    proposals_.back().simplicity = simplicity;
  }
  void add_mask(const MaskFault& mask) {
    ScoreRule rule = textbook_;
    rule.mask = mask.mask;
    add(mask.id, mask.parameters, mask.says, std::move(rule), mask.simplicity);
  }
  void add_slots(const CacheFault& fault, double simplicity) {
    ScoreRule rule = textbook_;
    rule.slot = fault.slot;
    add("kv_cache", fault.parameters, fault.says, std::move(rule), simplicity);
  }
  void add_rope(RopeFault fault, double simplicity) {
    add(std::move(fault.id), std::move(fault.parameters), fault.says + ", as the scores show", textbook_, simplicity,
        [rule = std::move(fault.rule)](const StageFacts& facts) { return score_inputs(facts, &rule); });
    proposals_.back().place = trace::Stage::kQRope;
  }

  void propose_usual() {
    for (const MaskFault& mask : usual_masks()) {
      add_mask(mask);
    }
    for (size_t window = 1; window < std::min<size_t>(in_.n_keys(), 64); ++window) {
      add_mask(window_mask(window));
    }
    for (const CacheFault& fault : usual_cache_faults("key", in_.n_keys())) {
      add_slots(fault, kNothingMeasured);
    }
    for (const HeadMap& map : usual_head_maps(in_.n_heads, in_.n_kv_heads)) {
      ScoreRule rule = textbook_;
      rule.key_head = map.map;
      add("gqa_head_map", {{"map", map.map}, {"heads", map.name}, {"expected", textbook_.key_head}}, map.says,
          std::move(rule));
    }
    for (const auto& [queries, keys, what] : {std::tuple(true, true, "queries and keys"),
                                              std::tuple(true, false, "queries"), std::tuple(false, true, "keys")}) {
      add("rope_missing", {{"of", what}}, fmt::format("the scores take the {} from before RoPE", what), textbook_,
          kNothingMeasured, [queries = queries, keys = keys](const StageFacts& facts) {
            return score_inputs_before_rope(facts, queries, keys);
          });
    }
  }

  // The textbook's scores with another scale, by which `y` is best explained.
  double nearest_scale(const Matrix& y, const ScoreRule& rule) const {
    const Matrix dots = products(in_, rule);
    const auto misfit = [&](double scale) {
      ScoreRule scaled = rule;
      scaled.scale = scale;
      return relative_error(probabilities(dots, in_, scaled), y);
    };
    Values log_p, dot, weight;
    for (size_t r = 0; r < y.n_tokens; ++r) {
      collect_row(y.row(r), dots.row(r), log_p, dot, weight);
    }
    const double slope = fit_line(dot, log_p, weight).slope;
    if (slope == 0 || !std::isfinite(slope)) {
      return slope;
    }
    Values grid;
    for (int i = -20; i <= 20; ++i) {
      grid.push_back(slope + 0.005 * i * std::abs(slope));
    }
    return shortest_that_fits(argmin(misfit, grid), misfit);
  }

  // Log probabilities and products of one row without their means: what scale alone explains. They count by their
  // probability, as they do in the error.
  static void collect_row(std::span<const double> p, std::span<const double> dots, Values& log_p, Values& dot,
                          Values& weight) {
    double w = 0, mean_log = 0, mean_dot = 0;
    for (size_t key = 0; key < p.size(); ++key) {
      if (p[key] > kLeast) {
        w += p[key];
        mean_log += p[key] * std::log(p[key]);
        mean_dot += p[key] * dots[key];
      }
    }
    for (size_t key = 0; key < p.size() && w > 0; ++key) {
      if (p[key] > kLeast) {
        log_p.push_back(std::log(p[key]) - mean_log / w);
        dot.push_back(dots[key] - mean_dot / w);
        weight.push_back(p[key]);
      }
    }
  }

  void measure(const Matrix& y) {
    if (y.n_tokens != in_.n_heads * in_.n_tokens() || y.n_features != in_.n_keys()) {
      return;
    }
    ScoreRule all_seen = textbook_;
    all_seen.mask = [](size_t, size_t n_keys, bool) { return Visible{0, n_keys}; };
    find_mask(y);
    find_heads(y, all_seen);
    const double scale = nearest_scale(y, textbook_);
    add_scale(scale, kNumberMeasured);
    const Matrix dots = products(in_, textbook_);
    const auto capped = [&](double cap) {
      ScoreRule rule = textbook_;
      rule.soft_cap = cap;
      return relative_error(probabilities(dots, in_, rule), y);
    };
    add_soft_cap(shortest_that_fits(argmin(capped, geometric_grid(0.01, 1e4, 200)), capped), kNumberMeasured);
    find_slots(y, products(in_, all_seen));
  }

  // Who sees whom, by where the probabilities are not 0 in any head.
  void find_mask(const Matrix& y) {
    std::vector<Visible> seen(in_.n_tokens(), {in_.n_keys(), 0});
    for (size_t r = 0; r < y.n_tokens; ++r) {
      Visible& of_token = seen[r % in_.n_tokens()];
      for (size_t key = 0; key < y.n_features; ++key) {
        if (y.row(r)[key] != 0) {
          of_token = {std::min(of_token.first, key), std::max(of_token.last, key + 1)};
        }
      }
    }
    bool is_causal = true;
    std::vector<int> offsets;
    std::vector<size_t> windows;
    for (size_t t = 0; t < seen.size(); ++t) {
      const size_t position = in_.first_position + t;
      is_causal = is_causal && seen[t].first == 0 && seen[t].last == position + 1;
      if (seen[t].last < in_.n_keys() && seen[t].last > 0) {
        offsets.push_back(static_cast<int>(seen[t].last) - static_cast<int>(position) - 1);
      }
      if (seen[t].first > 0 && seen[t].first <= position) {
        windows.push_back(position + 1 - seen[t].first);
      }
    }
    if (is_causal) {
      return;
    }
    if (!offsets.empty()) {
      std::sort(offsets.begin(), offsets.end());
      add_mask(offset_mask(offsets[offsets.size() / 2]));
    }
    if (!windows.empty()) {
      add_mask(window_mask(*std::max_element(windows.begin(), windows.end())));
    }
    Json first = Json::array(), last = Json::array();
    for (const Visible& of_token : seen) {
      first.push_back(of_token.first);
      last.push_back(of_token.last);
    }
    const size_t begin = in_.first_position;
    add_mask({"causal_mask",
              {{"first_key", first}, {"behind_last_key", last}},
              "tokens see other keys",
              [seen, begin](size_t position, size_t n_keys, bool is_decode) {
                return position >= begin && position - begin < seen.size() ? seen[position - begin]
                                                                           : causal(position, n_keys, is_decode);
              },
              kTableMeasured});
  }

  // How badly a head's probabilities are explained by these two heads' products, at any scale: 1 - R^2.
  double head_misfit(const Matrix& y, size_t head, size_t query_head, size_t key_head) const {
    constexpr size_t kRows = 8;  // those that see the most
    Values log_p, dot, weight;
    const size_t n = in_.n_tokens();
    for (size_t t = n > kRows ? n - kRows : 0; t < n; ++t) {
      Values dots(in_.n_keys());
      for (size_t key = 0; key < dots.size(); ++key) {
        dots[key] = in_.product(t, query_head, key, key_head);
      }
      collect_row(y.row(head * n + t), dots, log_p, dot, weight);
    }
    const Line line = fit_line(dot, log_p, weight);
    double left = 0, all = 0;
    for (size_t i = 0; i < dot.size(); ++i) {
      const double off = log_p[i] - line.slope * dot[i];
      left += weight[i] * off * off;
      all += weight[i] * log_p[i] * log_p[i];
    }
    return all > 0 && line.slope > 0 ? left / all : kInfinity;
  }

  void find_heads(const Matrix& y, const ScoreRule& all_seen) {
    constexpr double kFits = 0.01, kBetter = 0.1;
    ScoreRule rule = textbook_;
    for (size_t h = 0; h < in_.n_heads; ++h) {
      const double usual = head_misfit(y, h, all_seen.query_head[h], all_seen.key_head[h]);
      double least = std::min(kBetter * usual, kFits);
      for (size_t a = 0; a < in_.n_heads; ++a) {
        for (size_t g = 0; g < in_.n_kv_heads && usual > 1e-9; ++g) {
          if (const double misfit = head_misfit(y, h, a, g); misfit < least) {
            least = misfit;
            rule.query_head[h] = a;
            rule.key_head[h] = g;
          }
        }
      }
    }
    const bool other_keys = rule.key_head != textbook_.key_head;
    if (rule.query_head != textbook_.query_head) {
      bool whole_heads = true;
      for (size_t h = 0; h < in_.n_heads; ++h) {
        whole_heads = whole_heads && rule.key_head[h] == textbook_.key_head[rule.query_head[h]];
      }
      Json parameters = {{"order", rule.query_head}};
      if (!whole_heads) {
        parameters["map"] = rule.key_head;
      }
      add("head_order", std::move(parameters), "the heads' scores stand in another order", std::move(rule),
          kTableMeasured);
    } else if (other_keys) {
      const std::vector<size_t> map = rule.key_head;
      add("gqa_head_map", {{"map", map}, {"expected", textbook_.key_head}}, "heads meet the keys of other heads",
          std::move(rule), kTableMeasured);
    }
  }

  // Where most keys are the right ones, each of the others is sought in the cache.
  void find_slots(const Matrix& y, const Matrix& dots) {
    constexpr double kSame = 0.02;
    const Values level = row_levels(y, dots);
    std::vector<std::optional<size_t>> slots(in_.n_keys());
    size_t n_wrong = 0;
    for (size_t key = 0; key < in_.n_keys(); ++key) {
      slots[key] = key;
      const double usual = column_misfit(y, level, key, [&](size_t r) { return dots.row(r)[key]; });
      if (usual < kSame) {
        continue;
      }
      ++n_wrong;
      double least = std::min(kSame, usual / 4);
      const auto take = [&](std::optional<size_t> slot, double misfit) {
        if (misfit < least) {
          least = misfit;
          slots[key] = slot;
        }
      };
      take(std::nullopt, column_misfit(y, level, key, [](size_t) { return 0.0; }));
      for (size_t slot = 0; slot < in_.n_keys(); ++slot) {
        take(slot, column_misfit(y, level, key, [&](size_t r) { return dots.row(r)[slot]; }));
      }
    }
    if (n_wrong > 0 && 2 * n_wrong < in_.n_keys()) {
      add_slots(listed_slots("key", slots), kTableMeasured);
    }
  }

  // Of each row, log p - scale * q.k of most keys.
  Values row_levels(const Matrix& y, const Matrix& dots) const {
    Values levels;
    for (size_t r = 0; r < y.n_tokens; ++r) {
      Values level;
      for (size_t key = 0; key < y.n_features; ++key) {
        if (y.row(r)[key] > kLeast) {
          level.push_back(std::log(y.row(r)[key]) - textbook_.scale * dots.row(r)[key]);
        }
      }
      levels.push_back(level.empty() ? 0 : median(level));
    }
    return levels;
  }

  // RMS over the rows that see the key, of the difference in log p. Rows that see two keys cannot tell which is wrong.
  double column_misfit(const Matrix& y, const Values& level, size_t key,
                       const std::function<double(size_t)>& dot) const {
    double sum = 0, n = 0;
    for (size_t r = 0; r < y.n_tokens; ++r) {
      const auto row = y.row(r);
      const auto n_seen = std::count_if(row.begin(), row.end(), [](double p) { return p > kLeast; });
      if (n_seen > 2 && row[key] > kLeast) {
        const double off = std::log(row[key]) - textbook_.scale * dot(r) - level[r];
        sum += off * off;
        n += 1;
      }
    }
    return n > 0 ? std::sqrt(sum / n) : 0;
  }

  // Numbers that give the recorded RMS.
  void solve(double rms) {
    const Matrix dots = products(in_, textbook_);
    const auto beyond = [&](double scale, double cap) {
      ScoreRule rule = textbook_;
      rule.scale = scale;
      rule.soft_cap = cap;
      return rms_of(probabilities(dots, in_, rule)) - rms;
    };
    const Values scales = geometric_grid(1e-4, 1e3, 71);
    const auto width = static_cast<double>(in_.head_dim);
    for (const double scale : {1.0, 1 / width, 1 / std::sqrt(static_cast<double>(in_.q.n_features))}) {
      add_scale(scale, kNothingMeasured);
    }
    for (const double scale : roots([&](double s) { return beyond(s, 0); }, scales)) {
      add_scale(scale, kNumberMeasured);
    }
    for (const double scale : roots([&](double s) { return beyond(-s, 0); }, scales)) {
      add_scale(-scale, kTableMeasured);
    }
    for (const double cap :
         roots([&](double c) { return beyond(textbook_.scale, c); }, geometric_grid(0.01, 1e3, 51))) {
      add_soft_cap(cap, kTableMeasured);
    }
    solve_rope(rms);
  }

  // RoPE leaves the RMS of queries and keys as it is: here is the first place where it can show.
  void solve_rope(double rms) {
    const oracle::Hyperparameters& hp = facts_.steps().hyperparameters();
    for (RopeFault& fault : usual_rope_faults(hp)) {
      add_rope(std::move(fault), kNothingMeasured);
    }
    constexpr size_t kAffordable = size_t{1} << 25;  // products of an evaluation
    if (in_.q.n_features * in_.n_tokens() * in_.n_keys() > kAffordable) {
      return;
    }
    const auto beyond = [&](const RopeFault& fault) {
      const std::optional<ScoreInputs> in = score_inputs(facts_, &fault.rule);
      return in ? rms_of(scores(*in, textbook_)) - rms : 0;
    };
    if (!score_inputs(facts_, nullptr) || !facts_.input(trace::Stage::kQProj)) {
      return;
    }
    for (const double base :
         roots([&](double b) { return beyond(rope_base_fault(hp, b)); }, geometric_grid(10, 1e10, 91))) {
      add_rope(rope_base_fault(hp, base), kNumberMeasured);
    }
    for (const double factor :
         roots([&](double f) { return beyond(rope_factor_fault(hp, f)); }, geometric_grid(0.05, 200, 61))) {
      add_rope(rope_factor_fault(hp, factor), kNumberMeasured);
    }
  }

  const StageFacts& facts_;
  ScoreRule textbook_;
  ScoreInputs in_;
  std::vector<Proposal> proposals_;
};

}  // namespace

std::vector<Proposal> usual_score_faults(const StageFacts& facts) {
  std::optional<ScoreInputs> in = score_inputs(facts);
  return in ? Search(facts, std::move(*in)).usual() : std::vector<Proposal>();
}

Proposal scale_fault(double scale, double expected) {
  return {"attention_scale",
          {{"scale", scale}, {"expected", expected}},
          fmt::format("q.k is multiplied by {:.6g} instead of {:.6g}", scale, expected),
          [scale](const StageFacts& facts) -> std::optional<Matrix> {
            ScoreRule rule = textbook_scores(facts.steps().hyperparameters());
            rule.scale = scale;
            const std::optional<ScoreInputs> in = score_inputs(facts);
            return in ? std::optional(scores(*in, rule)) : std::nullopt;
          },
          kNumberMeasured};
}

Proposal soft_cap_fault(double cap) {
  return {"attention_soft_cap",
          {{"cap", cap}, {"expected", nullptr}},
          fmt::format("scores are capped softly at {:.6g}", cap),
          [cap](const StageFacts& facts) -> std::optional<Matrix> {
            ScoreRule rule = textbook_scores(facts.steps().hyperparameters());
            rule.soft_cap = cap;
            const std::optional<ScoreInputs> in = score_inputs(facts);
            return in ? std::optional(scores(*in, rule)) : std::nullopt;
          },
          kNumberMeasured};
}

std::vector<Proposal> estimate_scores(const StageFacts& facts) {
  std::optional<ScoreInputs> in = score_inputs(facts);
  return in ? explaining(Search(facts, std::move(*in)).run(), facts) : std::vector<Proposal>();
}

}  // namespace tern::estimate
