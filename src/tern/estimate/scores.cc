// Attention probabilities: which head met which, at what scale, which tokens attend to which keys, and what the
// cache held.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tern/base/median.h"
#include "tern/estimate/numerics.h"
#include "tern/estimate/score_faults.h"

namespace tern::estimate {
namespace {

using Values = std::vector<double>;

constexpr double kLeast = 1e-30;  // smaller probabilities are left out: float32 ends soon below

// The rows of each head's last few tokens, which attend to the most keys: enough to measure by.
constexpr size_t kTelling = 32;

size_t n_left_out(size_t n_tokens) { return n_tokens > kTelling ? n_tokens - kTelling : 0; }

Matrix last_rows(const Matrix& x, size_t n_heads) {
  const size_t n_tokens = x.n_tokens / n_heads, skip = n_left_out(n_tokens);
  Matrix last(n_heads * (n_tokens - skip), x.n_features);
  for (size_t r = 0; r < last.n_tokens; ++r) {
    const size_t head = r / (n_tokens - skip), t = r % (n_tokens - skip) + skip;
    std::copy_n(x.row(head * n_tokens + t).begin(), x.n_features, last.row(r).begin());
  }
  return last;
}

ScoreInputs last_tokens(ScoreInputs in) {
  const size_t skip = n_left_out(in.q.n_tokens);
  in.q = last_rows(in.q, 1);
  in.first_position += skip;
  return in;
}

class ScoreSearch {
 public:
  ScoreSearch(const StageFacts& facts, ScoreInputs in)
      : facts_(facts),
        hp_(facts.steps().hyperparameters()),
        textbook_(textbook_scores(hp_)),
        n_tokens_(in.n_tokens()),
        in_(facts.is() ? last_tokens(std::move(in)) : std::move(in)) {}

  std::vector<Proposal> run() {
    if (facts_.is()) {
      measure(*facts_.is());
    } else if (facts_.rms()) {
      solve(*facts_.rms());
    }
    return std::move(proposals_);
  }

 private:
  void add(ScoreFault fault, double simplicity) {
    fault.proposal.simplicity = simplicity;
    add(std::move(fault));
  }
  void add(ScoreFault fault) {
    if (facts_.is()) {
      // What does not fit the last tokens need not be computed for all.
      std::optional<ScoreInputs> in = fault.inputs(facts_);
      if (!in || relative_error(scores(last_tokens(std::move(*in)), fault.rule), y_) > kWorthIt * clean_) {
        return;
      }
    }
    const bool is_later = fault.proposal.id == "kv_cache" || fault.proposal.parameters.contains("offset");
    if (in_.is_decode && is_later && !fault.proposal.parameters.contains("passes")) {
      fault.proposal.simplicity *= kNotBefore;
    }
    proposals_.push_back(std::move(fault.proposal));
  }

  void add_with_values(ScoreFault fault) {
    add(with_values_too(fault));
    add(std::move(fault));
  }

  void add_usual() {
    for (ScoreFault& fault : usual_score_faults(hp_, in_.n_keys(), in_.is_decode)) {
      add(std::move(fault));
    }
  }

  // The textbook's scores with another scale, by which `y` is best explained.
  double nearest_scale(const Matrix& y, const Matrix& dots) const {
    const auto misfit = [&](double scale) {
      return relative_error(probabilities(dots, in_, scale_fault(hp_, scale).rule), y);
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
    if (y.n_tokens != in_.n_heads * n_tokens_ || y.n_features != in_.n_keys()) {
      return;
    }
    find_mask(y);
    y_ = last_rows(y, in_.n_heads);
    const Matrix dots = products(in_, textbook_);
    clean_ = relative_error(probabilities(dots, in_, textbook_), y_);
    for (ScoreFault& fault : masks_) {
      add(std::move(fault));
    }
    add_usual();
    ScoreRule all_seen = textbook_;
    all_seen.mask = [](size_t, size_t n_keys, bool) { return Visible{0, n_keys}; };
    find_heads(y_, all_seen);
    add(scale_fault(hp_, nearest_scale(y_, dots)));
    const auto capped = [&](double cap) {
      return relative_error(probabilities(dots, in_, soft_cap_fault(hp_, cap).rule), y_);
    };
    add(soft_cap_fault(hp_, shortest_that_fits(argmin(capped, geometric_grid(0.01, 1e4, 200)), capped)));
    find_slots(y_, products(in_, all_seen));
  }

  // The keys that each token attends to: those whose probability is not 0 in some head.
  void find_mask(const Matrix& y) {
    const size_t first_position = facts_.first_position();
    std::vector<Visible> seen(n_tokens_, {in_.n_keys(), 0});
    for (size_t r = 0; r < y.n_tokens; ++r) {
      Visible& of_token = seen[r % n_tokens_];
      for (size_t key = 0; key < y.n_features; ++key) {
        if (y.row(r)[key] != 0) {
          of_token = {std::min(of_token.first, key), std::max(of_token.last, key + 1)};
        }
      }
    }
    bool is_causal = true;
    std::vector<int> offsets;
    size_t window = 0;
    for (size_t t = 0; t < n_tokens_; ++t) {
      const size_t position = first_position + t;
      is_causal = is_causal && seen[t].first == 0 && seen[t].last == position + 1;
      if (seen[t].last < in_.n_keys() && seen[t].last > 0) {
        offsets.push_back(static_cast<int>(seen[t].last) - static_cast<int>(position) - 1);
      }
      if (seen[t].first > 0 && seen[t].first <= position) {
        window = std::max(window, position + 1 - seen[t].first);
      }
    }
    if (is_causal) {
      return;
    }
    masks_ = usual_mask_faults(hp_);
    if (!offsets.empty()) {
      std::sort(offsets.begin(), offsets.end());
      masks_.push_back(mask_offset_fault(hp_, offsets[offsets.size() / 2]));
    }
    if (window > 0) {
      masks_.push_back(window_fault(hp_, window));
    }
    Json first = Json::array(), last = Json::array();
    for (const Visible& of_token : seen) {
      first.push_back(of_token.first);
      last.push_back(of_token.last);
    }
    ScoreRule rule = textbook_;
    rule.mask = [seen, first_position](size_t position, size_t n_keys, bool is_decode) {
      return position >= first_position && position - first_position < seen.size()
                 ? seen[position - first_position]
                 : causal(position, n_keys, is_decode);
    };
    masks_.push_back(score_fault("causal_mask", {{"first_key", first}, {"behind_last_key", last}},
                                 "tokens see other keys", std::move(rule), kTableMeasured));
  }

  // How badly a head's probabilities are explained by these two heads' products, at any scale: 1 - R^2.
  double head_misfit(const Matrix& y, size_t head, size_t query_head, size_t key_head) const {
    constexpr size_t kRows = 8;  // those with the most keys
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
      add(score_fault("head_order", std::move(parameters), "the heads' scores stand in another order", std::move(rule),
                      kTableMeasured));
    } else if (other_keys) {
      const std::vector<size_t> map = rule.key_head;
      add_with_values(score_fault("gqa_head_map", {{"map", map}, {"expected", textbook_.key_head}},
                                  "heads meet the keys of other heads", std::move(rule), kTableMeasured));
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
      CacheFault found = listed_slots("key", slots);
      ScoreRule rule = textbook_;
      rule.slot = std::move(found.slot);
      add_with_values(
          score_fault("kv_cache", std::move(found.parameters), std::move(found.says), std::move(rule), kTableMeasured));
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

  // RMS of the difference in log p, over the rows that attend to the key. A row with two keys does not show which of
  // them is wrong.
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
    const auto beyond = [&](const ScoreFault& fault) { return rms_of(probabilities(dots, in_, fault.rule)) - rms; };
    for (ScoreFault& fault : usual_mask_faults(hp_)) {
      add(std::move(fault));
    }
    constexpr double kNear = 0.02;
    for (size_t window = 1; window < in_.n_keys(); ++window) {
      ScoreFault fault = window_fault(hp_, window);
      if (std::abs(beyond(fault)) < kNear * rms) {
        add(std::move(fault));
      }
    }
    add_usual();
    const Values scales = geometric_grid(1e-4, 1e3, 71);
    const auto width = static_cast<double>(in_.head_dim);
    for (const double scale : {1.0, 1 / width, 1 / std::sqrt(static_cast<double>(in_.q.n_features))}) {
      add(scale_fault(hp_, scale), kNothingMeasured);
    }
    for (const double scale : roots([&](double s) { return beyond(scale_fault(hp_, s)); }, scales)) {
      add(scale_fault(hp_, scale));
    }
    for (const double scale : roots([&](double s) { return beyond(scale_fault(hp_, -s)); }, scales)) {
      add(scale_fault(hp_, -scale), kTableMeasured);
    }
    for (const double cap :
         roots([&](double c) { return beyond(soft_cap_fault(hp_, c)); }, geometric_grid(0.01, 1e3, 51))) {
      add(soft_cap_fault(hp_, cap), kTableMeasured);
    }
    solve_rope(rms);
  }

  // RoPE leaves the RMS of queries and keys as it is: here is the first place where it can show.
  void solve_rope(double rms) {
    constexpr size_t kAffordable = size_t{1} << 30, kOften = size_t{1} << 25;  // products
    const size_t n_products = in_.q.n_features * in_.n_tokens() * in_.n_keys();
    if (n_products > kAffordable || !facts_.input(trace::Stage::kQProj)) {
      return;
    }
    for (const Turned which : {Turned::kBoth, Turned::kQueries, Turned::kKeys}) {
      solve_rope_of(which, rms, n_products <= kOften);
    }
  }

  using FaultOfNumber = std::function<RopeFault(double number)>;
  static void name_number(Proposal& proposal, const char* name, const FaultOfNumber& fault, Turned which,
                          const oracle::Hyperparameters& hp) {
    proposal.number = name;
    proposal.with_number = [hp, fault, which](double number) { return rope_fault(hp, fault(number), which).proposal; };
  }

  void solve_rope_of(Turned which, double rms, bool often) {
    const double less = which == Turned::kBoth ? 1 : kOneSide;
    const auto base_fault = [hp = hp_](double base) { return rope_base_fault(hp, base); };
    const auto factor_fault = [hp = hp_](double factor) { return rope_factor_fault(hp, factor); };
    const auto add_rope = [&](RopeFault fault, double simplicity) {
      ScoreFault shown = rope_fault(hp_, std::move(fault), which);
      if (shown.proposal.id == "rope_base") {
        name_number(shown.proposal, "rope_base", base_fault, which, hp_);
      } else if (shown.proposal.id == "rope_scaling") {
        name_number(shown.proposal, "factor", factor_fault, which, hp_);
      }
      add(std::move(shown), less * simplicity);
    };
    for (RopeFault& fault : usual_rope_faults(hp_)) {
      add_rope(std::move(fault), kNothingMeasured);
    }
    // Many offsets fit one RMS: those other than one step, only where queries and keys share them.
    const int all = which == Turned::kBoth ? static_cast<int>(std::min<size_t>(in_.n_keys(), 64)) : 1;
    const int most = in_.is_decode ? all : 0;
    for (int offset = -most; offset <= most; ++offset) {
      if (offset != 0) {
        add_rope(rope_decode_offset_fault(hp_, offset), std::abs(offset) == 1 ? kNothingMeasured : kNumberMeasured);
      }
    }
    // Another frequency for each width; the usual ones where halves are paired, as neighbours have it with few pairs.
    const size_t step = often ? 2 : std::max<size_t>(in_.head_dim / 8 / 2 * 2, 2);
    for (size_t width = step; width < in_.head_dim; width += step) {
      add_rope(rope_width_fault(hp_, width, width), kNothingMeasured);
      if (often && hp_.rope_neox_pairs) {
        add_rope(rope_width_fault(hp_, width, in_.head_dim), kNothingMeasured);
      }
    }
    if (!often) {
      return;
    }
    for (size_t n = 1; 2 * n < in_.head_dim; ++n) {
      add_rope(rope_pairs_fault(hp_, n), kNothingMeasured);
    }
    const auto beyond = [&](const RopeFault& fault) {
      const std::optional<ScoreInputs> in = score_inputs_turned(facts_, fault.rule, which);
      return in ? rms_of(scores(*in, textbook_)) - rms : 0;
    };
    for (const double base : roots([&](double b) { return beyond(base_fault(b)); }, geometric_grid(10, 1e10, 91))) {
      add_rope(base_fault(base), kNumberMeasured);
    }
    for (const double factor :
         roots([&](double f) { return beyond(factor_fault(f)); }, geometric_grid(0.05, 200, 61))) {
      add_rope(factor_fault(factor), kNumberMeasured);
    }
  }

  static constexpr double kWorthIt = 0.5;  // of the error that there is
  static constexpr double kOneSide = 0.9;  // RoPE is mostly one function for queries and keys

  const StageFacts& facts_;
  const oracle::Hyperparameters& hp_;
  ScoreRule textbook_;
  size_t n_tokens_;  // of the pass
  ScoreInputs in_;   // where there are values: of the last tokens
  Matrix y_;         // what the side computed for these
  double clean_ = 0;
  std::vector<ScoreFault> masks_;
  std::vector<Proposal> proposals_;
};

}  // namespace

std::vector<Proposal> estimate_scores(const StageFacts& facts) {
  std::optional<ScoreInputs> in = measurable(facts) ? score_inputs(facts) : std::nullopt;
  return in ? explaining(ScoreSearch(facts, std::move(*in)).run(), facts) : std::vector<Proposal>();
}

}  // namespace tern::estimate
