#include "tern/model/weights.h"

#include <fmt/format.h>

#include <string>
#include <unordered_set>

namespace tern::model {
namespace {

std::string dims_text(const gguf::Tensor& tensor) { return fmt::format("[{}]", fmt::join(tensor.dims, ", ")); }

class Binder {
 public:
  explicit Binder(const gguf::View& view) : view_(view) {}

  Result<std::vector<float>> norm(const std::string& name, int64_t n) {
    TERN_ASSIGN_OR_RETURN(const gguf::Tensor* tensor, find(name, n, 1));
    if (!tensor->format->is_float()) {
      return wrong_format(*tensor, "a norm must be F32 or F16");
    }
    std::vector<float> values(static_cast<size_t>(n));
    tensor->format->decode_row(tensor->row(0), tensor->tail(), values);
    return values;
  }

  // A matrix that products are computed with, in any format.
  Result<Matrix> projection(const std::string& name, int64_t n_rows, int64_t n_cols) {
    TERN_ASSIGN_OR_RETURN(const gguf::Tensor* tensor, find(name, n_cols, n_rows));
    return Matrix{tensor->format, n_rows, n_cols, tensor->data};
  }

  // The embedding or the head, of which single rows are read.
  Result<Matrix> table(const std::string& name, int64_t n_rows, int64_t n_cols) {
    TERN_ASSIGN_OR_RETURN(const gguf::Tensor* tensor, find(name, n_cols, n_rows));
    if (tensor->format->tail_bytes > 0) {
      return wrong_format(*tensor, "rows of this tensor are read one by one, which its format does not allow");
    }
    return Matrix{tensor->format, n_rows, n_cols, tensor->data};
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
    if (tensor->format == nullptr) {
      return wrong_format(*tensor, "tern cannot compute with this format");
    }
    if (reinterpret_cast<uintptr_t>(tensor->data.data()) % tensor->format->alignment != 0) {
      return invalid_input(view_.where_tensor(*tensor),
                           fmt::format("its data is not aligned to {} bytes", tensor->format->alignment));
    }
    used_.insert(tensor->name);
    return tensor;
  }

  tl::unexpected<Error> wrong_format(const gguf::Tensor& tensor, std::string_view why) const {
    return invalid_input(view_.where_tensor(tensor),
                         fmt::format("is {}: {}", quant::type_name_and_id(tensor.type_id), why));
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
