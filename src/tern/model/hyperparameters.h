// What the fast engine computes for a model: the file's numbers, and what its family's graph stands for.
#pragma once

#include <cstdint>
#include <string_view>

#include "tern/arch/model_file.h"
#include "tern/base/error.h"
#include "tern/gguf/view.h"
#include "tern/kernels/table.h"

namespace tern::model {

enum class Activation { kRelu2, kSilu };

struct Hyperparameters {
  std::string_view architecture;  // general.architecture
  int64_t n_layers = 0;
  int64_t n_embd = 0;
  int64_t n_ff = 0;
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;  // divides n_heads: each serves n_heads / n_kv_heads query heads
  int64_t head_dim = 0;    // even
  int64_t n_vocab = 0;     // rows of the embedding table
  int64_t n_ctx_train = 0;
  float rope_base = 10000.0f;
  float rms_eps = 0;

  // What the architecture stands for.
  kernels::RopePairs rope_pairs = kernels::RopePairs::kHalves;
  Activation activation = Activation::kRelu2;
  bool sub_norms = false;  // a norm before the output projection and one before the down projection

  int64_t n_q() const { return n_heads * head_dim; }
  int64_t n_kv() const { return n_kv_heads * head_dim; }
};

// Errors: kInvalidInput for a family whose graph the fast engine does not compute.
Result<Hyperparameters> hyperparameters_of(const gguf::View& view, const arch::ModelFile& file);

}  // namespace tern::model
