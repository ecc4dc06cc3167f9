#include "tern/model/weights.h"

#include <fmt/format.h>

namespace tern::model {
namespace {

using arch::Role;

// Tensors of one file in the form that forward() takes them.
class Binder {
 public:
  Binder(const gguf::View& view, const arch::ModelFile& file) : view_(view), file_(file) {}

  void norm(Role role, int64_t layer, std::vector<float>& values) const {
    const gguf::Tensor& tensor = file_.tensor(role, layer);
    values.resize(tensor.n_cols());
    tensor.format->decode_row(tensor.row(0), tensor.tail(), values);
  }

  Status matrix(Role role, int64_t layer, Matrix& matrix) const {
    const gguf::Tensor& tensor = file_.tensor(role, layer);
    if (reinterpret_cast<uintptr_t>(tensor.data.data()) % tensor.format->alignment != 0) {
      return invalid_input(view_.where_tensor(tensor),
                           fmt::format("its data is not aligned to {} bytes", tensor.format->alignment));
    }
    matrix = {tensor.format, static_cast<int64_t>(tensor.n_rows()), static_cast<int64_t>(tensor.n_cols()), tensor.data};
    return {};
  }

 private:
  const gguf::View& view_;
  const arch::ModelFile& file_;
};

Status bind_layer(const Binder& binder, bool sub_norms, int64_t index, LayerWeights& layer) {
  binder.norm(Role::kAttnNorm, index, layer.attn_norm);
  TERN_RETURN_IF_ERROR(binder.matrix(Role::kQ, index, layer.q));
  TERN_RETURN_IF_ERROR(binder.matrix(Role::kK, index, layer.k));
  TERN_RETURN_IF_ERROR(binder.matrix(Role::kV, index, layer.v));
  TERN_RETURN_IF_ERROR(binder.matrix(Role::kO, index, layer.o));
  binder.norm(Role::kFfnNorm, index, layer.ffn_norm);
  TERN_RETURN_IF_ERROR(binder.matrix(Role::kGate, index, layer.gate));
  TERN_RETURN_IF_ERROR(binder.matrix(Role::kUp, index, layer.up));
  TERN_RETURN_IF_ERROR(binder.matrix(Role::kDown, index, layer.down));
  if (sub_norms) {
    binder.norm(Role::kAttnSubNorm, index, layer.attn_sub_norm);
    binder.norm(Role::kFfnSubNorm, index, layer.ffn_sub_norm);
  }
  return {};
}

}  // namespace

Result<Weights> bind_weights(const gguf::View& view, const arch::ModelFile& file, const Hyperparameters& h) {
  const Binder binder(view, file);
  Weights weights;
  TERN_RETURN_IF_ERROR(binder.matrix(Role::kEmbedding, 0, weights.embedding));
  weights.layers.resize(static_cast<size_t>(h.n_layers));
  for (int64_t i = 0; i < h.n_layers; ++i) {
    TERN_RETURN_IF_ERROR(bind_layer(binder, h.sub_norms, i, weights.layers[static_cast<size_t>(i)]));
  }
  binder.norm(Role::kOutputNorm, 0, weights.output_norm);
  const Role head = file.find(Role::kHead) == nullptr ? Role::kEmbedding : Role::kHead;
  TERN_RETURN_IF_ERROR(binder.matrix(head, 0, weights.head));
  return weights;
}

}  // namespace tern::model
