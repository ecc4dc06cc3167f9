// Attention scores with everything that can be wrong about them: softmax of scale * q.k over the keys that a token
// attends to.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tern/estimate/cache.h"
#include "tern/estimate/rope_rule.h"

namespace tern::estimate {

// The keys that a token attends to: from `first` up to, but not including, `last`.
struct Visible {
  size_t first = 0, last = 0;
};
using Mask = std::function<Visible(size_t position, size_t n_keys, bool is_decode)>;
Visible causal(size_t position, size_t n_keys, bool is_decode);

struct ScoreRule {
  double scale = 1;
  double soft_cap = 0;             // scores are cap * tanh(score / cap); 0: as they are
  std::vector<size_t> query_head;  // the head of q that each head takes
  std::vector<size_t> key_head;    // the head of k
  Mask mask = causal;
  CacheSlot slot = [](const CacheLook& look) { return std::optional(look.key); };
};

// 1/sqrt(head_dim), each head its own query, neighbours sharing a key head.
ScoreRule textbook_scores(const oracle::Hyperparameters& hp);

// What scores are made of.
struct ScoreInputs {
  Matrix q;  // [n_tokens, heads * head_dim]
  Matrix k;  // [n_keys, kv heads * head_dim]
  size_t head_dim = 0, n_heads = 0, n_kv_heads = 0, first_position = 0;
  bool is_decode = false;

  size_t n_tokens() const { return q.n_tokens; }
  size_t n_keys() const { return k.n_tokens; }
  double product(size_t t, size_t query_head, size_t key, size_t key_head) const;
};
// Behind RoPE, as recorded; or with RoPE by that rule from what goes into it. nullopt where it is not recorded.
std::optional<ScoreInputs> score_inputs(const StageFacts& facts, const RopeRule* rope = nullptr);
// Before RoPE: the queries, the keys, or both.
std::optional<ScoreInputs> score_inputs_before_rope(const StageFacts& facts, bool queries, bool keys);

// [n_heads * n_tokens, n_keys]: q.k, not scaled.
Matrix products(const ScoreInputs& in, const ScoreRule& rule);
// The probabilities of such products.
Matrix probabilities(Matrix products, const ScoreInputs& in, const ScoreRule& rule);
Matrix scores(const ScoreInputs& in, const ScoreRule& rule);

// What the heads mix, from the facts of that stage, with other values: of head `value_head[h]`, and from that slot of
// the cache. Written in mixing.cc.
std::optional<Matrix> mixed_values(const StageFacts& facts, const std::vector<size_t>& value_head,
                                   const CacheSlot& slot);

// Query heads to key or value heads, as they are got wrong: parameters, one line, map.
struct HeadMap {
  std::string name, says;
  std::vector<size_t> map;
};
std::vector<HeadMap> usual_head_maps(size_t n_heads, size_t n_kv_heads);
std::vector<size_t> textbook_head_map(size_t n_heads, size_t n_kv_heads);

}  // namespace tern::estimate
