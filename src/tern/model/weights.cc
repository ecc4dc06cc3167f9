#include "tern/model/weights.h"

#include <fmt/format.h>

#include <cstring>
#include <string>
#include <unordered_set>

#include "tern/base/check.h"
#include "tern/quant/half.h"
#include "tern/quant/i2s.h"

namespace tern::model {
namespace {

using quant::Encoding;

std::string dims_text(const gguf::Tensor& tensor) { return fmt::format("[{}]", fmt::join(tensor.dims, ", ")); }

class Binder {
 public:
  explicit Binder(const gguf::View& view) : view_(view) {}

  Result<std::vector<float>> norm(const std::string& name, int64_t n) {
    TERN_ASSIGN_OR_RETURN(const gguf::Tensor* tensor, find(name, n, 1));
    std::vector<float> values(static_cast<size_t>(n));
    if (tensor->encoding == Encoding::kF32) {
      std::memcpy(values.data(), tensor->data.data(), values.size() * sizeof(float));
    } else if (tensor->encoding == Encoding::kF16) {
      std::vector<uint16_t> halves(values.size());
      std::memcpy(halves.data(), tensor->data.data(), halves.size() * sizeof(uint16_t));
      for (size_t i = 0; i < values.size(); ++i) values[i] = quant::half_to_float(halves[i]);
    } else {
      return wrong_encoding(*tensor, "a norm must be F32 or F16");
    }
    return values;
  }

  // A projection: I2_S, F16 or F32.
  Result<Matrix> projection(const std::string& name, int64_t n_rows, int64_t n_cols) {
    TERN_ASSIGN_OR_RETURN(const gguf::Tensor* tensor, find(name, n_cols, n_rows));
    if (!tensor->encoding) {
      return wrong_encoding(*tensor, "a projection must be I2_S, F16 or F32");
    }
    Matrix matrix{.encoding = *tensor->encoding, .n_rows = n_rows, .n_cols = n_cols, .data = tensor->data.data()};
    if (matrix.encoding != Encoding::kI2S) {
      TERN_RETURN_IF_ERROR(check_alignment(*tensor));
      return matrix;
    }
    TERN_CHECK(view_.i2s_layout().has_value());
    matrix.layout = *view_.i2s_layout();
    // qk256 pads its rows; rows of the two others are whole blocks.
    if (matrix.layout != quant::I2sLayout::kQK256 && n_cols % quant::i2s_block_size(matrix.layout) != 0) {
      return invalid_input(view_.where_tensor(*tensor), fmt::format("its {} columns are not whole blocks of {} weights",
                                                                    n_cols, quant::i2s_block_size(matrix.layout)));
    }
    if (matrix.layout == quant::I2sLayout::kBitnetCpp) {
      matrix.scale = quant::i2s_tail_scale(tensor->data, static_cast<uint64_t>(n_rows), static_cast<uint64_t>(n_cols));
    }
    return matrix;
  }

  // The embedding or the head: F16 or F32.
  Result<Matrix> table(const std::string& name, int64_t n_rows, int64_t n_cols) {
    TERN_ASSIGN_OR_RETURN(const gguf::Tensor* tensor, find(name, n_cols, n_rows));
    if (tensor->encoding != Encoding::kF16 && tensor->encoding != Encoding::kF32) {
      return wrong_encoding(*tensor, "this tensor must be F16 or F32");
    }
    TERN_RETURN_IF_ERROR(check_alignment(*tensor));
    return Matrix{.encoding = *tensor->encoding, .n_rows = n_rows, .n_cols = n_cols, .data = tensor->data.data()};
  }

  bool has(const std::string& name) const { return view_.find_tensor(name) != nullptr; }

  Status check_all_used() const {
    for (const gguf::Tensor& tensor : view_.tensors()) {
      if (!used_.contains(tensor.name)) {
        return invalid_input(view_.where_tensor(tensor), "tern does not know what this tensor is for",
                             "leaving it out would give wrong numbers");
      }
    }
    return {};
  }

 private:
  Result<const gguf::Tensor*> find(const std::string& name, int64_t dim0, int64_t dim1) {
    const gguf::Tensor* tensor = view_.find_tensor(name);
    if (tensor == nullptr) {
      return invalid_input(view_.name(), fmt::format("the tensor {} is missing", name));
    }
    const bool fits = tensor->n_cols() == static_cast<uint64_t>(dim0) &&
                      tensor->n_rows() == static_cast<uint64_t>(dim1) && tensor->dims.size() <= 2;
    if (!fits) {
      const std::string demanded = dim1 == 1 ? fmt::format("[{}]", dim0) : fmt::format("[{}, {}]", dim0, dim1);
      return invalid_input(
          view_.where_tensor(*tensor),
          fmt::format("its shape is {}, but the hyperparameters demand {}", dims_text(*tensor), demanded));
    }
    used_.insert(tensor->name);
    return tensor;
  }

  tl::unexpected<Error> wrong_encoding(const gguf::Tensor& tensor, std::string what) const {
    return invalid_input(view_.where_tensor(tensor), fmt::format("{}, not {}", what, quant::type_name(tensor.type_id)));
  }

  Status check_alignment(const gguf::Tensor& tensor) const {
    const size_t element = tensor.encoding == Encoding::kF16 ? sizeof(uint16_t) : sizeof(float);
    if (reinterpret_cast<uintptr_t>(tensor.data.data()) % element != 0) {
      return invalid_input(view_.where_tensor(tensor), fmt::format("its data is not aligned to {} bytes", element));
    }
    return {};
  }

  const gguf::View& view_;
  std::unordered_set<std::string_view> used_;
};

Result<LayerWeights> bind_layer(Binder& binder, const Hyperparameters& h, int64_t index) {
  const std::string prefix = fmt::format("blk.{}.", index);
  LayerWeights layer;
  TERN_ASSIGN_OR_RETURN(layer.attn_norm, binder.norm(prefix + "attn_norm.weight", h.n_embd));
  TERN_ASSIGN_OR_RETURN(layer.q, binder.projection(prefix + "attn_q.weight", h.n_q(), h.n_embd));
  TERN_ASSIGN_OR_RETURN(layer.k, binder.projection(prefix + "attn_k.weight", h.n_kv(), h.n_embd));
  TERN_ASSIGN_OR_RETURN(layer.v, binder.projection(prefix + "attn_v.weight", h.n_kv(), h.n_embd));
  if (h.sub_norms) {
    TERN_ASSIGN_OR_RETURN(layer.attn_sub_norm, binder.norm(prefix + "attn_sub_norm.weight", h.n_q()));
    TERN_ASSIGN_OR_RETURN(layer.ffn_sub_norm, binder.norm(prefix + "ffn_sub_norm.weight", h.n_ff));
  }
  TERN_ASSIGN_OR_RETURN(layer.o, binder.projection(prefix + "attn_output.weight", h.n_embd, h.n_q()));
  TERN_ASSIGN_OR_RETURN(layer.ffn_norm, binder.norm(prefix + "ffn_norm.weight", h.n_embd));
  TERN_ASSIGN_OR_RETURN(layer.gate, binder.projection(prefix + "ffn_gate.weight", h.n_ff, h.n_embd));
  TERN_ASSIGN_OR_RETURN(layer.up, binder.projection(prefix + "ffn_up.weight", h.n_ff, h.n_embd));
  TERN_ASSIGN_OR_RETURN(layer.down, binder.projection(prefix + "ffn_down.weight", h.n_embd, h.n_ff));
  return layer;
}

}  // namespace

int64_t Matrix::row_bytes() const {
  const auto n = static_cast<uint64_t>(n_cols);
  switch (encoding) {
    case Encoding::kI2S:
      return static_cast<int64_t>(quant::i2s_row_bytes(layout, n));
    case Encoding::kF16:
      return n_cols * static_cast<int64_t>(sizeof(uint16_t));
    case Encoding::kF32:
      break;
  }
  return n_cols * static_cast<int64_t>(sizeof(float));
}

Result<Weights> bind_weights(const gguf::View& view, const Hyperparameters& h) {
  Binder binder(view);
  Weights weights;
  TERN_ASSIGN_OR_RETURN(weights.embedding, binder.table("token_embd.weight", h.n_vocab, h.n_embd));
  for (int64_t i = 0; i < h.n_layers; ++i) {
    TERN_ASSIGN_OR_RETURN(LayerWeights layer, bind_layer(binder, h, i));
    weights.layers.push_back(std::move(layer));
  }
  TERN_ASSIGN_OR_RETURN(weights.output_norm, binder.norm("output_norm.weight", h.n_embd));
  weights.head = weights.embedding;
  if (binder.has("output.weight")) {
    TERN_ASSIGN_OR_RETURN(weights.head, binder.table("output.weight", h.n_vocab, h.n_embd));
  }
  TERN_RETURN_IF_ERROR(binder.check_all_used());
  return weights;
}

}  // namespace tern::model
