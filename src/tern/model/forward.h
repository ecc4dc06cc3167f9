// One pass of tokens through the network: the function of the whole engine that reads from top to bottom.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tern/base/aligned_vector.h"
#include "tern/base/error.h"
#include "tern/base/interrupt.h"
#include "tern/base/thread_pool.h"
#include "tern/kernels/table.h"
#include "tern/model/attention.h"
#include "tern/model/greedy_head.h"
#include "tern/model/hyperparameters.h"
#include "tern/model/kv_cache.h"
#include "tern/model/multiply.h"
#include "tern/model/weights.h"
#include "tern/trace/inputs.h"
#include "tern/trace/recorder.h"

namespace tern::model {

// A model that was read from a file and checked; immutable. The view must outlive it.
struct Model {
  Hyperparameters h;
  Weights weights;

  // Errors: kInvalidInput, see arch::ModelFile, hyperparameters_of() and bind_weights().
  static Result<Model> load(const gguf::View& view);
};

// kBestOfLastToken: only which is the largest.
enum class WantedLogits { kNone, kBestOfLastToken, kLastToken, kAllTokens };

// One batch of tokens and what to do with it.
struct Batch {
  std::span<const int32_t> tokens = {};  // ids below n_vocab
  int64_t position = 0;                  // of the first one; all earlier ones are in the cache
  WantedLogits logits = WantedLogits::kLastToken;
  // How float sums in the head are ordered when only the last token's logits are wanted: as if all were (false: the
  // same bits whether or not others are asked for), or as for a batch of one token (true: what bitnet.cpp gives a
  // caller that needs the last position only).
  bool head_as_single = false;
  trace::Recorder* recorder = nullptr;    // null: tracing is off
  const trace::Inputs* inputs = nullptr;  // null: each stage is computed from what was computed before it
  int seq = 0;                            // for the recorder: 0 the prefill, then the decode steps,
  int ubatch = 0;                         // and which piece of the prefill
  const Interrupt* interrupt = nullptr;   // looked at before each layer
};

struct Output {
  std::span<const float> logits;  // the wanted ones, [0, 1 or n_tokens, n_vocab]; valid until the next call
  int32_t best = -1;              // kBestOfLastToken: argmax() of the last token's
};

class Forward {
 public:
  // All referenced objects must outlive this one.
  Forward(const Model& model, const kernels::KernelTable& table, ThreadPool& pool,
          kernels::ActivationRounding rounding);

  // From here on, kBestOfLastToken is answered by `greedy_head`, a copy of this model's head, wherever it can
  // and nothing is recorded. The answer is the same. Null removes it.
  void set_greedy_head(GreedyHead* greedy_head) { greedy_head_ = greedy_head; }

  // The cache gets the tokens' keys and values. Errors: those of the recorder; kEngine when interrupted.
  Result<Output> run(KvCache& cache, const Batch& batch);

 private:
  struct Recording;

  void resize(int64_t n_tokens);
  void embed(std::span<const int32_t> tokens);
  void norm(const float* x, const std::vector<float>& weight, int64_t n_tokens, float* out);
  void rotate(float* x, int64_t n_tokens, int64_t n_heads);
  void activate(int64_t n_tokens);
  void add(const float* a, const float* b, int64_t n, float* out);
  Status attention_block(KvCache& cache, const Batch& batch, int64_t layer, const Recording& recording);
  Status feed_forward_block(const Batch& batch, int64_t layer, const Recording& recording);
  Result<Output> head(const Batch& batch, const Recording& recording);

  const Model& model_;
  const Hyperparameters& h_;
  const kernels::KernelTable& table_;
  ThreadPool& pool_;
  Multiplier multiplier_;
  Attention attention_;
  GreedyHead* greedy_head_ = nullptr;

  // Activations of the batch, row-major, one row per token.
  AlignedVector<float> x_;       // [n_tokens, n_embd]: the residual stream
  AlignedVector<float> normed_;  // [n_tokens, n_embd]
  AlignedVector<float> q_;       // [n_tokens, n_q]
  AlignedVector<float> k_;       // [n_tokens, n_kv]
  AlignedVector<float> v_;       // [n_tokens, n_kv]
  AlignedVector<float> attn_;    // [n_tokens, n_q]: heads merged, later sub-normed
  AlignedVector<float> o_;       // [n_tokens, n_embd]: output of a block, before it is added to the stream
  AlignedVector<float> gate_;    // [n_tokens, n_ff]
  AlignedVector<float> up_;      // [n_tokens, n_ff]
  AlignedVector<float> cosine_;  // [n_tokens, head_dim / 2]
  AlignedVector<float> sine_;    // [n_tokens, head_dim / 2]
  AlignedVector<float> scores_;  // [n_heads, n_tokens, positions]: only when tracing
  AlignedVector<float> logits_;  // [rows, n_vocab]
};

}  // namespace tern::model
