// The tensors of a model, bound to the names that forward() uses. Matrices point into the file's mapping;
// only the norms, a few kilobytes, are copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tern/base/error.h"
#include "tern/gguf/view.h"
#include "tern/model/hyperparameters.h"
#include "tern/quant/format.h"

namespace tern::model {

// y = W x with W [n_rows, n_cols], as it stands in the file.
struct Matrix {
  const quant::Format* format = nullptr;
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  std::span<const std::byte> data = {};  // whole rows and the format's tail

  size_t row_bytes() const { return format->row_bytes(static_cast<uint64_t>(n_cols)); }
  std::span<const std::byte> row(size_t index) const { return data.subspan(index * row_bytes(), row_bytes()); }
  std::span<const std::byte> tail() const { return data.last(format->tail_bytes); }
  const uint16_t* halves() const { return reinterpret_cast<const uint16_t*>(data.data()); }  // F16
  const float* floats() const { return reinterpret_cast<const float*>(data.data()); }        // F32
};

struct LayerWeights {
  std::vector<float> attn_norm;      // [n_embd]
  Matrix q;                          // [n_q, n_embd]
  Matrix k;                          // [n_kv, n_embd]
  Matrix v;                          // [n_kv, n_embd]
  std::vector<float> attn_sub_norm;  // [n_q], empty where the architecture has none
  Matrix o;                          // [n_embd, n_q]
  std::vector<float> ffn_norm;       // [n_embd]
  Matrix gate;                       // [n_ff, n_embd]
  Matrix up;                         // [n_ff, n_embd]
  std::vector<float> ffn_sub_norm;   // [n_ff], empty where the architecture has none
  Matrix down;                       // [n_embd, n_ff]
};

struct Weights {
  Matrix embedding;  // [n_vocab, n_embd]; each row can be read by itself
  std::vector<LayerWeights> layers;
  std::vector<float> output_norm;  // [n_embd]
  Matrix head;                     // [n_vocab, n_embd]: output.weight, or the embedding where there is none
};

// The result points into `view`, which must outlive it. Errors: kInvalidInput for a matrix whose data is not aligned as
// its format's kernel needs it.
Result<Weights> bind_weights(const gguf::View& view, const arch::ModelFile& file, const Hyperparameters& h);

}  // namespace tern::model
