#include "tern/estimate/score_rule.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace tern::estimate {
namespace {

std::optional<ScoreInputs> inputs_of(const StageFacts& facts, std::optional<Matrix> q, std::optional<Matrix> k) {
  const oracle::Hyperparameters& hp = facts.steps().hyperparameters();
  ScoreInputs in;
  in.head_dim = static_cast<size_t>(hp.head_dim);
  in.n_heads = static_cast<size_t>(hp.n_heads);
  in.n_kv_heads = static_cast<size_t>(hp.n_kv_heads);
  in.first_position = facts.first_position();
  in.is_decode = facts.id().seq > 0;
  if (!q || !k || q->n_features != in.n_heads * in.head_dim || k->n_features != in.n_kv_heads * in.head_dim ||
      k->n_tokens != in.first_position + q->n_tokens) {
    return std::nullopt;
  }
  in.q = std::move(*q);
  in.k = std::move(*k);
  return in;
}

}  // namespace

Visible causal(size_t position, size_t n_keys, bool) { return {0, std::min(position + 1, n_keys)}; }

std::vector<size_t> textbook_head_map(size_t n_heads, size_t n_kv_heads) {
  std::vector<size_t> map(n_heads);
  for (size_t h = 0; h < n_heads; ++h) {
    map[h] = h / (n_heads / n_kv_heads);
  }
  return map;
}

ScoreRule textbook_scores(const oracle::Hyperparameters& hp) {
  const auto n_heads = static_cast<size_t>(hp.n_heads);
  ScoreRule rule;
  rule.scale = 1 / std::sqrt(static_cast<double>(hp.head_dim));
  rule.query_head.resize(n_heads);
  std::iota(rule.query_head.begin(), rule.query_head.end(), size_t{0});
  rule.key_head = textbook_head_map(n_heads, static_cast<size_t>(hp.n_kv_heads));
  return rule;
}

double ScoreInputs::product(size_t t, size_t query_head, size_t key, size_t key_head) const {
  const auto a = q.row(t).subspan(query_head * head_dim, head_dim);
  const auto b = k.row(key).subspan(key_head * head_dim, head_dim);
  return std::transform_reduce(a.begin(), a.end(), b.begin(), 0.0);
}

std::optional<ScoreInputs> score_inputs(const StageFacts& facts, const RopeRule* rope) {
  if (rope == nullptr) {
    return inputs_of(facts, facts.input(trace::Stage::kQRope), facts.history(trace::Stage::kKRope));
  }
  std::optional<Matrix> q = facts.input(trace::Stage::kQProj), k = facts.history(trace::Stage::kKProj);
  if (!q || !k) {
    return std::nullopt;
  }
  return inputs_of(facts, rotated(*q, *rope, rope_tokens(facts)),
                   rotated(*k, *rope, rope_tokens_of_cache(facts, k->n_tokens)));
}

std::optional<ScoreInputs> score_inputs_before_rope(const StageFacts& facts, bool queries, bool keys) {
  return inputs_of(facts, facts.input(queries ? trace::Stage::kQProj : trace::Stage::kQRope),
                   facts.history(keys ? trace::Stage::kKProj : trace::Stage::kKRope));
}

Matrix products(const ScoreInputs& in, const ScoreRule& rule) {
  Matrix out(in.n_heads * in.n_tokens(), in.n_keys());
  for (size_t h = 0; h < in.n_heads; ++h) {
    for (size_t t = 0; t < in.n_tokens(); ++t) {
      const auto row = out.row(h * in.n_tokens() + t);
      const size_t position = in.first_position + t;
      const Visible seen = rule.mask(position, in.n_keys(), in.is_decode);
      for (size_t key = seen.first; key < std::min(seen.last, row.size()); ++key) {
        const std::optional<size_t> slot = rule.slot({position, key, in.is_decode});
        row[key] = slot && *slot < in.n_keys() ? in.product(t, rule.query_head[h], *slot, rule.key_head[h]) : 0;
      }
    }
  }
  return out;
}

Matrix probabilities(Matrix products, const ScoreInputs& in, const ScoreRule& rule) {
  for (size_t r = 0; r < products.n_tokens; ++r) {
    const auto row = products.row(r);
    const Visible seen = rule.mask(in.first_position + r % in.n_tokens(), row.size(), in.is_decode);
    double largest = -std::numeric_limits<double>::infinity(), sum = 0;
    for (size_t key = 0; key < row.size(); ++key) {
      row[key] *= rule.scale;
      if (rule.soft_cap != 0) {
        row[key] = rule.soft_cap * std::tanh(row[key] / rule.soft_cap);
      }
      largest = key >= seen.first && key < seen.last ? std::max(largest, row[key]) : largest;
    }
    for (size_t key = 0; key < row.size(); ++key) {
      row[key] = key >= seen.first && key < seen.last ? std::exp(row[key] - largest) : 0;
      sum += row[key];
    }
    for (double& p : row) {
      p = sum > 0 ? p / sum : 0;
    }
  }
  return products;
}

Matrix scores(const ScoreInputs& in, const ScoreRule& rule) { return probabilities(products(in, rule), in, rule); }

std::vector<HeadMap> usual_head_maps(size_t n_heads, size_t n_kv_heads) {
  std::vector<HeadMap> maps;
  const std::vector<size_t> textbook = textbook_head_map(n_heads, n_kv_heads);
  const auto add = [&](std::string name, std::string says, const std::function<size_t(size_t)>& of) {
    std::vector<size_t> map(n_heads);
    for (size_t h = 0; h < n_heads; ++h) {
      map[h] = of(h) % n_kv_heads;
    }
    if (map != textbook) {
      maps.push_back({std::move(name), std::move(says), std::move(map)});
    }
  };
  add("every n-th", "every n-th head shares keys, instead of neighbours", [](size_t h) { return h; });
  add("reversed", "the key heads are taken in the reverse order",
      [&](size_t h) { return n_kv_heads - 1 - textbook[h]; });
  add("next", "each head takes the key head behind its own", [&](size_t h) { return textbook[h] + 1; });
  add("previous", "each head takes the key head before its own",
      [&](size_t h) { return textbook[h] + n_kv_heads - 1; });
  for (size_t head = 0; head < n_kv_heads && n_kv_heads > 1; ++head) {
    add("all " + std::to_string(head), "all heads take key head " + std::to_string(head),
        [head](size_t) { return head; });
  }
  return maps;
}

}  // namespace tern::estimate
