// Causal attention of one layer over the float16 cache, as bitnet.cpp evaluates it without flash attention
// (src/llama.cpp, llm_build_kqv).
#pragma once

#include <cstdint>
#include <vector>

#include "tern/base/aligned_vector.h"
#include "tern/base/thread_pool.h"
#include "tern/kernels/table.h"
#include "tern/model/hyperparameters.h"
#include "tern/model/kv_cache.h"

namespace tern::model {

class Attention {
 public:
  // All referenced objects must outlive this one.
  Attention(const Hyperparameters& h, const kernels::KernelTable& table, ThreadPool& pool);

  // Writes the keys and values of positions [position, position + n_tokens). k, v: [n_tokens, n_kv].
  void store(KvCache& cache, int64_t layer, int64_t position, int64_t n_tokens, const float* k, const float* v);

  // out [n_tokens, n_q]: each token of q [n_tokens, n_q] attends to positions 0 to its own. Where `scores` is not null,
  // it gets the softmax of each head: [n_heads, n_tokens, position + n_tokens], masked entries 0.
  void attend(KvCache& cache, int64_t layer, int64_t position, int64_t n_tokens, const float* q, float* out,
              float* scores);

 private:
  struct Tile;
  struct Scratch {
    AlignedVector<float> query;    // [rows, head_dim]
    AlignedVector<float> weights;  // [rows, keys]
  };

  // Turns a row of n scores, of which the first n_seen are not masked, into its softmax.
  void weigh(float* row, int64_t n_seen, int64_t n);
  void attend_tile(const Tile& tile, Scratch& scratch);
  void attend_far_back(KvCache& cache, int64_t layer, int64_t position, const float* q, float* out, float* scores);

  const Hyperparameters& h_;
  const kernels::KernelTable& table_;
  ThreadPool& pool_;
  std::vector<Scratch> scratch_;  // of each thread
  Scratch shared_;                // of a single token that looks far back: [n_heads, ...]
};

}  // namespace tern::model
