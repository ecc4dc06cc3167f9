#include "comparison.h"

#include <fmt/format.h>

#include <algorithm>

#include "program_output.h"

namespace tern::bench {
namespace {

Series divided(const Series& series, double by) {
  Series result;
  for (const double value : series) result.push_back(value / by);
  return result;
}

class Judge {
 public:
  explicit Judge(const Comparison& c) : c_(c) {}

  std::vector<Goal> goals() && {
    if (!c_.peers.empty()) against_first_peer(c_.peers.front());
    for (size_t i = 1; i < c_.peers.size(); ++i) against_other_peer(c_.peers[i]);
    of_ours_alone();
    return std::move(goals_);
  }

 private:
  void add(const std::string& id, std::string text, std::optional<Spread> value, bool at_least, double target,
           std::optional<double> stretch = std::nullopt) {
    goals_.push_back({id, std::move(text), value, at_least, target, stretch});
  }

  void add_prefill(const std::string& id, const EngineFigures& peer, double target,
                   std::optional<double> stretch = std::nullopt) {
    add(id, fmt::format("Prefill of {} tokens, speed against {}'s", c_.workload.n_prompt, peer.name),
        ratio(at(c_.ours.prefill_tokens_per_s, c_.threads), at(peer.prefill_tokens_per_s, c_.threads)), true, target,
        stretch);
  }

  void add_decode(const std::string& id, const EngineFigures& peer, double target,
                  std::optional<double> stretch = std::nullopt) {
    add(id, fmt::format("Greedy decode of {} tokens, speed against {}'s", c_.workload.n_decode, peer.name),
        ratio(at(c_.ours.decode_tokens_per_s, c_.threads), at(peer.decode_tokens_per_s, c_.threads)), true, target,
        stretch);
  }

  void against_first_peer(const EngineFigures& peer) {
    const EngineFigures& ours = c_.ours;
    add_prefill("prefill", peer, 1.6, 2.2);
    for (const ProductFigures& product : c_.products) {
      const bool is_goal = product.size.tokens == 2048 && product.size.rows == 2048;
      if (!is_goal) continue;
      add("product", fmt::format("Product {} on one thread, time against {}'s", product.size.text(), peer.name),
          ratio(product.ours_ms, product.peer_ms), false, 0.62, 0.45);
    }
    add_decode("decode", peer, 1.5, 1.9);
    add("deep_decode", fmt::format("Decode after {} positions, speed against {}'s there", c_.workload.depth, peer.name),
        ratio(ours.deep_decode_tokens_per_s, peer.deep_decode_tokens_per_s), true, 1);
    add("first_token", fmt::format("Load to first token, time against {}'s", peer.name),
        ratio(ours.first_token_s, peer.first_token_s), false, 1);
  }

  void against_other_peer(const EngineFigures& peer) {
    add_prefill("prefill_" + peer.name, peer, 1);
    add_decode("decode_" + peer.name, peer, 1);
  }

  void of_ours_alone() {
    const EngineFigures& ours = c_.ours;
    const Series decode = at(ours.decode_tokens_per_s, c_.threads);
    const Series prefill = at(ours.prefill_tokens_per_s, c_.threads);
    add("context",
        fmt::format("Decode after {} positions, speed against its own in a short context", c_.workload.depth),
        ratio(ours.deep_decode_tokens_per_s, decode), true, 0.75);
    add("memory", "Peak memory against the model file's size",
        ours.model_bytes > 0 ? spread(divided(ours.peak_rss_bytes, ours.model_bytes)) : std::nullopt, false, 1.05);
    add("tracing", "Tracing every stage, share of a traced run's time", tracing_share(), false, 0.1);
    add("sweep", "Three-scenario sweep against a pack, seconds", spread(c_.sweep_s), false, 30);
    const std::string more =
        c_.more_threads > 0 ? fmt::format("{} threads", c_.more_threads) : std::string("more threads than cores");
    add("more_threads_prefill", fmt::format("Prefill with {}, speed against that with {}", more, c_.threads),
        ratio(at(ours.prefill_tokens_per_s, c_.more_threads), prefill), true, 0.8);
    add("more_threads_decode", fmt::format("Decode with {}, speed against that with {}", more, c_.threads),
        ratio(at(ours.decode_tokens_per_s, c_.more_threads), decode), true, 0.8);
    // With two cores 1.7: each brings at least 85% of what one alone does.
    add("scaling", fmt::format("Prefill with {} threads, speed against that with 1", c_.threads),
        c_.threads > 1 ? ratio(prefill, at(ours.prefill_tokens_per_s, 1)) : std::nullopt, true, 0.85 * c_.threads);
  }

  std::optional<Spread> tracing_share() const {
    Series share;
    if (c_.traced_s.size() != c_.untraced_s.size()) return std::nullopt;
    for (size_t i = 0; i < c_.traced_s.size(); ++i) {
      share.push_back((c_.traced_s[i] - c_.untraced_s[i]) / c_.traced_s[i]);
    }
    return spread(share);
  }

  const Comparison& c_;
  std::vector<Goal> goals_;
};

}  // namespace

std::string ProductSize::text() const { return fmt::format("[{}, {}] x [{}, {}]", tokens, cols, cols, rows); }

const std::vector<ProductSize>& published_sizes() {
  static const std::vector<ProductSize> sizes = {
      {1, 2048, 2048, 0.076},    {32, 2048, 2048, 1.202},    {128, 2048, 2048, 5.805},  {256, 2048, 2048, 11.882},
      {512, 2048, 2048, 23.342}, {2048, 2048, 2048, 93.276}, {128, 2048, 8192, 23.528}, {128, 8192, 2048, 22.569},
  };
  return sizes;
}

Series at(const std::map<int, Series>& by_threads, int threads) {
  const auto it = by_threads.find(threads);
  return it != by_threads.end() ? it->second : Series();
}

std::optional<Spread> spread(const Series& series) {
  if (series.empty()) return std::nullopt;
  const auto [low, high] = std::minmax_element(series.begin(), series.end());
  return Spread{median(series), *low, *high};
}

std::optional<Spread> ratio(const Series& a, const Series& b) {
  if (a.size() != b.size()) return std::nullopt;
  Series ratios;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!(b[i] > 0)) return std::nullopt;
    ratios.push_back(a[i] / b[i]);
  }
  return spread(ratios);
}

std::optional<bool> Goal::reached() const {
  if (!value) return std::nullopt;
  return at_least ? value->median >= target : value->median <= target;
}

std::optional<bool> Goal::stretch_reached() const {
  if (!value || !stretch) return std::nullopt;
  return at_least ? value->median >= *stretch : value->median <= *stretch;
}

std::vector<Goal> judge(const Comparison& comparison) { return Judge(comparison).goals(); }

}  // namespace tern::bench
