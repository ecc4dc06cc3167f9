// What attention mixes: for each head, the sum of the values that its scores weigh.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tern/estimate/numerics.h"
#include "tern/estimate/score_faults.h"

namespace tern::estimate {
namespace {

constexpr double kNotSeen = 1e-4;  // of the RMS: what another order of the heads leaves as it is

struct Inputs {
  Matrix p;  // [n_heads * n_tokens, n_keys]
  Matrix v;  // [n_keys, kv heads * head_dim]
  size_t head_dim = 0, n_heads = 0, n_kv_heads = 0, n_tokens = 0, first_position = 0;
  bool is_decode = false;
};

std::optional<Inputs> inputs_of(const StageFacts& facts, trace::Stage values = trace::Stage::kVProj) {
  const oracle::Hyperparameters& hp = facts.steps().hyperparameters();
  std::optional<Matrix> p = facts.input(trace::Stage::kAttnScoresSoftmax), v = facts.history(values);
  Inputs in;
  in.head_dim = static_cast<size_t>(hp.head_dim);
  in.n_heads = static_cast<size_t>(hp.n_heads);
  in.n_kv_heads = static_cast<size_t>(hp.n_kv_heads);
  in.first_position = facts.first_position();
  in.is_decode = facts.id().seq > 0;
  if (!p || !v || p->n_tokens % in.n_heads != 0 || p->n_features != v->n_tokens ||
      v->n_features != in.n_kv_heads * in.head_dim) {
    return std::nullopt;
  }
  in.n_tokens = p->n_tokens / in.n_heads;
  in.p = std::move(*p);
  in.v = std::move(*v);
  return in;
}

// How the heads are put into one row.
enum class Merge { kHeadByHead, kFeatureByFeature, kTokensInside };

struct MixRule {
  std::vector<size_t> score_head, value_head;  // of each head of the output
  std::vector<bool> missing;                   // heads in whose place there are zeros; may be empty
  double factor = 1;
  Merge merge = Merge::kHeadByHead;
  CacheSlot slot = [](const CacheLook& look) { return std::optional(look.key); };
};

MixRule textbook(const oracle::Hyperparameters& hp) {
  MixRule rule;
  rule.score_head.resize(static_cast<size_t>(hp.n_heads));
  std::iota(rule.score_head.begin(), rule.score_head.end(), size_t{0});
  rule.value_head = textbook_head_map(rule.score_head.size(), static_cast<size_t>(hp.n_kv_heads));
  return rule;
}

// What one head of one token comes to.
std::vector<double> mixed(const Inputs& in, size_t t, size_t score_head, size_t value_head, const CacheSlot& slot) {
  std::vector<double> sum(in.head_dim);
  const auto p = in.p.row(score_head * in.n_tokens + t);
  for (size_t key = 0; key < p.size(); ++key) {
    const std::optional<size_t> from = p[key] == 0 ? std::nullopt : slot({in.first_position + t, key, in.is_decode});
    if (from && *from < in.v.n_tokens) {
      const auto v = in.v.row(*from).subspan(value_head * in.head_dim, in.head_dim);
      for (size_t i = 0; i < sum.size(); ++i) {
        sum[i] += p[key] * v[i];
      }
    }
  }
  return sum;
}

Matrix mix(const Inputs& in, const MixRule& rule) {
  Matrix out(in.n_tokens, in.n_heads * in.head_dim);
  for (size_t h = 0; h < in.n_heads; ++h) {
    for (size_t t = 0; t < in.n_tokens && (rule.missing.empty() || !rule.missing[h]); ++t) {
      const std::vector<double> sum = mixed(in, t, rule.score_head[h], rule.value_head[h], rule.slot);
      for (size_t i = 0; i < in.head_dim; ++i) {
        size_t place = (t * in.n_heads + h) * in.head_dim + i;
        if (rule.merge == Merge::kFeatureByFeature) {
          place = (t * in.head_dim + i) * in.n_heads + h;
        } else if (rule.merge == Merge::kTokensInside) {
          place = (h * in.n_tokens + t) * in.head_dim + i;
        }
        out.values[place] = rule.factor * sum[i];
      }
    }
  }
  return out;
}

// The last few tokens, which attend to the most keys: enough to measure by.
constexpr size_t kTelling = 32;

Matrix last_rows(const Matrix& x, size_t n_heads) {
  const size_t n_tokens = x.n_tokens / n_heads, n = std::min(n_tokens, kTelling);
  Matrix last(n_heads * n, x.n_features);
  for (size_t r = 0; r < last.n_tokens; ++r) {
    const auto from = x.row(r / n * n_tokens + n_tokens - n + r % n);
    std::copy(from.begin(), from.end(), last.row(r).begin());
  }
  return last;
}

Inputs last_tokens(Inputs in) {
  in.p = last_rows(in.p, in.n_heads);
  in.first_position += in.n_tokens - in.p.n_tokens / in.n_heads;
  in.n_tokens = in.p.n_tokens / in.n_heads;
  return in;
}

class MixingSearch {
 public:
  MixingSearch(const StageFacts& facts, Inputs in)
      : facts_(facts),
        textbook_(textbook(facts.steps().hyperparameters())),
        in_(facts.is() ? last_tokens(std::move(in)) : std::move(in)) {
    if (facts.is()) {
      y_ = last_rows(*facts.is(), 1);
      plain_ = mix(in_, textbook_);
      clean_ = relative_error(plain_, y_);
    }
  }

  std::vector<Proposal> run() {
    propose_usual();
    if (facts_.is()) {
      find_factor(y_);
      find_heads(y_);
      find_missing(y_);
      find_slot(y_);
    } else if (const double should = rms_of(facts_.should()); facts_.rms() && should > 0) {
      add_factor(*facts_.rms() / should, kFitsAnything);
    }
    return std::move(proposals_);
  }

  // Orders of the heads: those that a mistake is likely to make, since the RMS of this stage shows none of them.
  std::vector<Proposal> neutral_orders() {
    proposals_.clear();
    const size_t n = in_.n_heads, group = n / in_.n_kv_heads;
    propose_merges();
    propose_order([&](size_t h) { return h % group * in_.n_kv_heads + h / group; });
    propose_order([&](size_t h) { return h % in_.n_kv_heads * group + h / in_.n_kv_heads; });
    propose_order([&](size_t h) { return (h + 1) % n; });
    propose_order([&](size_t h) { return (h + n - 1) % n; });
    propose_order([&](size_t h) { return std::min(h ^ 1U, n - 1); });
    return std::move(proposals_);
  }

  // Scores are not recorded everywhere: what is wrong with them then shows here first.
  std::vector<Proposal> through_scores(std::vector<Proposal> proposals) {
    proposals_ = std::move(proposals);
    constexpr size_t kAffordable = size_t{1} << 26;  // products
    const oracle::Hyperparameters& hp = facts_.steps().hyperparameters();
    if (facts_.should().values.size() * in_.v.n_tokens > kAffordable) {
      return std::move(proposals_);
    }
    for (auto faults : {usual_mask_faults(hp), usual_score_faults(hp, in_.v.n_tokens, in_.is_decode)}) {
      for (ScoreFault& fault : faults) {
        add_mixed(std::move(fault));
      }
    }
    const auto find = [&](const std::function<ScoreFault(double)>& fault, const std::vector<double>& grid) {
      const auto off = [&](double number) {
        const std::optional<Matrix> y = mixed_with(fault(number), facts_);
        return y ? misfit(facts_, *y) : kInfinity;
      };
      add_mixed(fault(shortest_that_fits(argmin(off, grid), off)));
    };
    const double expected = textbook_scores(hp).scale;
    find([&](double scale) { return scale_fault(hp, scale); }, geometric_grid(expected / 100, expected * 100, 60));
    find([&](double cap) { return soft_cap_fault(hp, cap); }, geometric_grid(0.01, 1e4, 60));
    return std::move(proposals_);
  }

 private:
  static std::optional<Matrix> mixed_with(const ScoreFault& fault, const StageFacts& facts) {
    std::optional<Inputs> in = inputs_of(facts);
    const std::optional<ScoreInputs> scored = fault.inputs(facts);
    if (!in || !scored || scored->n_tokens() != in->n_tokens || scored->n_keys() != in->v.n_tokens) {
      return std::nullopt;
    }
    in->p = scores(*scored, fault.rule);
    MixRule rule = textbook(facts.steps().hyperparameters());
    if (fault.of_values_too) {
      rule.value_head = fault.rule.key_head;
      rule.slot = fault.rule.slot;
    }
    return mix(*in, rule);
  }
  void add_mixed(ScoreFault fault) {
    Proposal here = fault.proposal;
    here.place = trace::Stage::kAttnScoresSoftmax;
    here.recompute = [fault = std::move(fault)](const StageFacts& facts) { return mixed_with(fault, facts); };
    proposals_.push_back(std::move(here));
  }

  void add(std::string id, Json parameters, std::string says, MixRule rule, double simplicity = kNothingMeasured,
           trace::Stage values = trace::Stage::kVProj) {
    // What does not fit the last tokens need not be computed for all.
    constexpr double kWorthIt = 0.5;
    if (facts_.is() && rule.merge != Merge::kTokensInside) {
      const std::optional<Inputs> in = values == trace::Stage::kVProj ? in_ : inputs_of(facts_, values);
      if (!in || relative_error(mix(last_tokens(*in), rule), y_) > kWorthIt * clean_) {
        return;
      }
    }
    proposals_.push_back({std::move(id), std::move(parameters), std::move(says),
                          [rule = std::move(rule), values](const StageFacts& facts) {
                            const std::optional<Inputs> in = inputs_of(facts, values);
                            return in ? std::optional(mix(*in, rule)) : std::nullopt;
                          },
                          simplicity});
  }
  void add_factor(double factor, double simplicity) {
    MixRule rule = textbook_;
    rule.factor = factor;
    add("attention_factor", {{"factor", factor}, {"expected", 1.0}},
        fmt::format("what the heads mix is multiplied by {:.6g}", factor), std::move(rule), simplicity);
  }
  void add_slots(const CacheFault& fault, double simplicity) {
    simplicity *= in_.is_decode && !fault.parameters.contains("passes") ? kNotBefore : 1;
    MixRule rule = textbook_;
    rule.slot = fault.slot;
    add("kv_cache", fault.parameters, fault.says, std::move(rule), simplicity);
  }

  void propose_usual() {
    for (const CacheFault& fault : usual_cache_faults("value", in_.v.n_tokens, in_.is_decode)) {
      add_slots(fault, kNothingMeasured);
    }
    for (const HeadMap& map : usual_head_maps(in_.n_heads, in_.n_kv_heads)) {
      MixRule rule = textbook_;
      rule.value_head = map.map;
      add("gqa_head_map", {{"map", map.map}, {"heads", map.name}, {"expected", textbook_.value_head}},
          "values: " + map.says, std::move(rule));
    }
    propose_merges();
    for (const trace::Stage stage : {trace::Stage::kKRope, trace::Stage::kKProj}) {
      add("kv_cache", {{"cache", "value"}, {"values", std::string(stage.name())}},
          fmt::format("{} is mixed in place of the values", stage.name()), textbook_, kNothingMeasured, stage);
    }
  }

  void propose_merges() {
    MixRule rule = textbook_;
    rule.merge = Merge::kFeatureByFeature;
    add("head_order", {{"merged", "feature by feature"}},
        "heads are merged feature by feature, not one after the other", rule);
    rule.merge = Merge::kTokensInside;
    add("head_order", {{"merged", "[heads, tokens, features]"}},
        "heads are not brought behind the tokens before they are merged", rule);
    propose_order([this](size_t h) { return in_.n_heads - 1 - h; });
  }
  // Head h of the output is head order(h).
  void propose_order(const std::function<size_t(size_t)>& order) {
    MixRule rule = textbook_;
    for (size_t h = 0; h < in_.n_heads; ++h) {
      rule.score_head[h] = order(h);
      rule.value_head[h] = textbook_.value_head[order(h)];
    }
    const std::vector<size_t> heads = rule.score_head;
    if (heads != textbook_.score_head) {
      add("head_order", {{"order", heads}}, "heads are merged in another order", std::move(rule));
    }
  }

  void find_factor(const Matrix& y) {
    constexpr double kRounding = 1e-6;
    const auto& plain = plain_.values;
    const double size = std::transform_reduce(plain.begin(), plain.end(), plain.begin(), 0.0);
    const double along = std::transform_reduce(plain.begin(), plain.end(), y.values.begin(), 0.0);
    if (size > 0) {
      add_factor(shortest_within(along / size, kRounding * std::abs(along / size)), kNumberMeasured);
    }
  }

  // How far one head of the output is from these two heads' mixture.
  double head_misfit(const Matrix& y, size_t head, size_t score_head, size_t value_head) const {
    constexpr size_t kTokens = 8;  // the last ones, whose mixtures differ most
    double error = 0, size = 0;
    for (size_t t = in_.n_tokens > kTokens ? in_.n_tokens - kTokens : 0; t < in_.n_tokens; ++t) {
      const std::vector<double> sum = mixed(in_, t, score_head, value_head, textbook_.slot);
      const auto is = y.row(t).subspan(head * in_.head_dim, in_.head_dim);
      for (size_t i = 0; i < sum.size(); ++i) {
        error += (is[i] - sum[i]) * (is[i] - sum[i]);
        size += is[i] * is[i];
      }
    }
    return size > 0 ? error / size : kInfinity;
  }

  void find_heads(const Matrix& y) {
    constexpr double kFits = 0.01, kBetter = 0.1, kRounding = 1e-11;
    MixRule rule = textbook_;
    for (size_t h = 0; h < in_.n_heads; ++h) {
      const double usual = head_misfit(y, h, textbook_.score_head[h], textbook_.value_head[h]);
      double least = std::min(kBetter * usual, kFits);
      for (size_t a = 0; a < in_.n_heads && usual > kRounding; ++a) {
        for (size_t g = 0; g < in_.n_kv_heads; ++g) {
          if (const double misfit = head_misfit(y, h, a, g); misfit < least) {
            least = misfit;
            rule.score_head[h] = a;
            rule.value_head[h] = g;
          }
        }
      }
    }
    const std::vector<size_t> order = rule.score_head, map = rule.value_head;
    if (order != textbook_.score_head) {
      bool whole_heads = true;
      for (size_t h = 0; h < order.size(); ++h) {
        whole_heads = whole_heads && map[h] == textbook_.value_head[order[h]];
      }
      Json parameters = {{"order", order}};
      if (!whole_heads) {
        parameters["map"] = map;
      }
      add("head_order", std::move(parameters), "heads are merged in another order", std::move(rule), kTableMeasured);
    } else if (map != textbook_.value_head) {
      add("gqa_head_map", {{"map", map}, {"expected", textbook_.value_head}}, "heads mix the values of other heads",
          std::move(rule), kTableMeasured);
    }
  }

  void find_missing(const Matrix& y) {
    std::vector<size_t> heads;
    MixRule rule = textbook_;
    rule.missing.resize(in_.n_heads);
    for (size_t h = 0; h < in_.n_heads; ++h) {
      bool is_zero = true;
      for (size_t t = 0; t < y.n_tokens; ++t) {
        const auto head = y.row(t).subspan(h * in_.head_dim, in_.head_dim);
        is_zero = is_zero && std::all_of(head.begin(), head.end(), [](double value) { return value == 0; });
      }
      if (is_zero) {
        rule.missing[h] = true;
        heads.push_back(h);
      }
    }
    if (!heads.empty()) {
      add("head_missing", {{"heads", heads}}, "heads are left out: zeros in their place", std::move(rule),
          kNumberMeasured);
    }
  }

  // One position whose value is that of another, or zeros: what is left over is its probability times the difference.
  void find_slot(const Matrix& y) {
    constexpr size_t kKeys = 128;
    const size_t n_keys = in_.v.n_tokens;
    if (n_keys > kKeys) {
      return;
    }
    double least = kInfinity;
    std::pair<size_t, std::optional<size_t>> best;
    for (size_t key = 0; key < n_keys; ++key) {
      for (size_t slot = 0; slot <= n_keys; ++slot) {
        const std::optional<size_t> from = slot < n_keys ? std::optional(slot) : std::nullopt;
        if (const double error = slot == key ? kInfinity : left_over(y, key, from); error < least) {
          least = error;
          best = {key, from};
        }
      }
    }
    std::vector<std::optional<size_t>> slots(n_keys);
    for (size_t key = 0; key < n_keys; ++key) {
      slots[key] = key == best.first && least < kInfinity ? best.second : std::optional(key);
    }
    add_slots(listed_slots("value", slots), kTableMeasured);
  }

  // Over the last few tokens: they attend to every position.
  double left_over(const Matrix& y, size_t key, std::optional<size_t> slot) const {
    constexpr size_t kTokens = 4;
    double error = 0;
    for (size_t t = in_.n_tokens > kTokens ? in_.n_tokens - kTokens : 0; t < in_.n_tokens; ++t) {
      for (size_t h = 0; h < in_.n_heads; ++h) {
        const double p = in_.p.row(h * in_.n_tokens + t)[key];
        const size_t begin = textbook_.value_head[h] * in_.head_dim;
        for (size_t i = 0; i < in_.head_dim; ++i) {
          const double taken = slot ? in_.v.row(*slot)[begin + i] : 0;
          const size_t place = h * in_.head_dim + i;
          const double off = y.row(t)[place] - plain_.row(t)[place] - p * (taken - in_.v.row(key)[begin + i]);
          error += off * off;
        }
      }
    }
    return error;
  }

  const StageFacts& facts_;
  MixRule textbook_;
  Inputs in_;         // where there are values: of the last tokens
  Matrix y_, plain_;  // what the side computed for these, and what the textbook does
  double clean_ = 0;  // the error that there is
  std::vector<Proposal> proposals_;
};

}  // namespace

std::optional<Matrix> mixed_values(const StageFacts& facts, const std::vector<size_t>& value_head,
                                   const CacheSlot& slot) {
  const std::optional<Inputs> in = inputs_of(facts);
  MixRule rule = textbook(facts.steps().hyperparameters());
  rule.value_head = value_head;
  rule.slot = slot;
  return in ? std::optional(mix(*in, rule)) : std::nullopt;
}

std::vector<Proposal> estimate_mixing(const StageFacts& facts) {
  std::optional<Inputs> in = measurable(facts) ? inputs_of(facts) : std::nullopt;
  if (!in || in->n_tokens != facts.should().n_tokens || in->n_heads * in->head_dim != facts.should().n_features) {
    return {};
  }
  MixingSearch search(facts, std::move(*in));
  std::vector<Proposal> proposals = search.run();
  if (!facts.is() && misfit(facts, facts.should()) < kNotSeen) {
    return search.neutral_orders();
  }
  proposals = explaining(std::move(proposals), facts);
  return proposals.empty() || proposals.front().simplicity <= kFitsAnything
             ? explaining(search.through_scores(std::move(proposals)), facts)
             : proposals;
}

}  // namespace tern::estimate
