#include "tern/oracle/weights.h"

#include <fmt/format.h>

#include <cstring>
#include <string>

#include "tern/base/check.h"
#include "tern/oracle/oracle.h"
#include "tern/quant/half.h"
#include "tern/quant/i2s.h"

namespace tern::oracle {
namespace {

template <class T>
T load_value(std::span<const std::byte> bytes, uint64_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

void decode_i2s_row(const gguf::Tensor& tensor, quant::I2sLayout layout, uint64_t row, WeightRow& out) {
  const uint64_t row_bytes = quant::i2s_row_bytes(layout, tensor.n_cols());
  const auto bytes = tensor.data.subspan(row * row_bytes, row_bytes);
  out.factors.resize(tensor.n_cols());
  quant::i2s_unpack_row(layout, bytes, out.factors);
  out.weights.assign(out.factors.begin(), out.factors.end());
  out.scale = 1.0;
  if (layout == quant::I2sLayout::kBitnetCpp) {
    out.scale = static_cast<double>(quant::i2s_tail_scale(tensor.data, tensor.n_rows(), tensor.n_cols()));
  } else {
    for (uint64_t c = 0; c < tensor.n_cols(); ++c) {
      out.weights[c] *= static_cast<double>(quant::i2s_scale_at(layout, bytes, c, 1.0F));
    }
  }
}

// Finds a tensor of exactly this shape in an encoding that can be decoded.
Result<const gguf::Tensor*> require(const gguf::View& view, const std::string& name, uint64_t n_rows, uint64_t n_cols) {
  const gguf::Tensor* tensor = view.find_tensor(name);
  if (tensor == nullptr) {
    return invalid_input(view.name() + ": tensor " + name, "is missing");
  }
  if (!tensor->encoding) {
    return invalid_input(view.where_tensor(*tensor),
                         "has the encoding " + quant::type_name(tensor->type_id) + ", which tern cannot compute with");
  }
  if (tensor->n_rows() != n_rows || tensor->n_cols() != n_cols) {
    return invalid_input(view.where_tensor(*tensor), fmt::format("is {} x {}, where the hyperparameters demand {} x {}",
                                                                 tensor->n_rows(), tensor->n_cols(), n_rows, n_cols));
  }
  return tensor;
}

Result<std::vector<double>> require_vector(const gguf::View& view, const std::string& name, uint64_t n) {
  TERN_ASSIGN_OR_RETURN(const gguf::Tensor* tensor, require(view, name, 1, n));
  if (tensor->encoding == quant::Encoding::kI2S) {
    return invalid_input(view.where_tensor(*tensor), "is I2_S, where a norm needs F32 or F16");
  }
  WeightRow row;
  decode_row(*tensor, view, 0, row);
  return std::move(row.weights);
}

Result<Hyperparameters> read_hyperparameters(const gguf::View& view) {
  TERN_ASSIGN_OR_RETURN(const std::string_view name, view.get_string("general.architecture"));
  const std::string arch(name);
  Hyperparameters hp;
  hp.relu_squared = arch == "bitnet-b1.58" || arch == "bitnet-25";
  hp.sub_norms = hp.rope_neox_pairs = hp.relu_squared || arch == "bitnet";
  if (!hp.sub_norms && arch != "llama") {
    return invalid_input(view.where_key("general.architecture"), "\"" + printable(arch) + "\" is not known",
                         "known: bitnet-b1.58, bitnet-25, bitnet, llama");
  }
  struct Key {
    const char* name;
    int* value;
    uint64_t high;
  };
  const Key keys[] = {{"block_count", &hp.n_layers, 1024},
                      {"embedding_length", &hp.n_embd, 1 << 20},
                      {"feed_forward_length", &hp.n_ff, 1 << 22},
                      {"attention.head_count", &hp.n_heads, 1 << 12},
                      {"attention.head_count_kv", &hp.n_kv_heads, 1 << 12},
                      {"context_length", &hp.n_context, 1 << 30}};
  for (const Key& key : keys) {
    TERN_ASSIGN_OR_RETURN(const uint64_t value, view.get_uint(arch + "." + key.name, 1, key.high));
    *key.value = static_cast<int>(value);
  }
  if (hp.n_embd % hp.n_heads != 0 || hp.n_heads % hp.n_kv_heads != 0 || (hp.n_embd / hp.n_heads) % 2 != 0) {
    return invalid_input(
        view.where_key(arch + ".attention.head_count"),
        fmt::format("{} heads and {} KV heads do not divide a width of {}", hp.n_heads, hp.n_kv_heads, hp.n_embd));
  }
  hp.head_dim = hp.n_embd / hp.n_heads;
  TERN_ASSIGN_OR_RETURN(hp.norm_epsilon, view.get_float(arch + ".attention.layer_norm_rms_epsilon"));
  if (view.has(arch + ".rope.freq_base")) {
    TERN_ASSIGN_OR_RETURN(hp.rope_base, view.get_float(arch + ".rope.freq_base"));
  }
  return hp;
}

}  // namespace

void decode_row(const gguf::Tensor& tensor, const gguf::View& view, uint64_t row, WeightRow& out) {
  TERN_CHECK(tensor.encoding.has_value() && row < tensor.n_rows());
  if (tensor.encoding == quant::Encoding::kI2S) {
    return decode_i2s_row(tensor, view.i2s_layout().value(), row, out);
  }
  out.scale = 1.0;
  out.weights.resize(tensor.n_cols());
  for (uint64_t c = 0; c < tensor.n_cols(); ++c) {
    const uint64_t index = row * tensor.n_cols() + c;
    const float weight = tensor.encoding == quant::Encoding::kF16
                             ? quant::half_to_float(load_value<uint16_t>(tensor.data, index))
                             : load_value<float>(tensor.data, index);
    out.weights[c] = static_cast<double>(weight);
  }
}

Result<Oracle> Oracle::load(const gguf::View& view, const Settings& settings) {
  Oracle oracle(view, settings);
  TERN_ASSIGN_OR_RETURN(oracle.hp_, read_hyperparameters(view));
  Hyperparameters& hp = oracle.hp_;
  const auto n_embd = static_cast<uint64_t>(hp.n_embd), n_ff = static_cast<uint64_t>(hp.n_ff);
  const auto kv_width = static_cast<uint64_t>(hp.n_kv_heads) * static_cast<uint64_t>(hp.head_dim);

  const gguf::Tensor* embeddings = view.find_tensor("token_embd.weight");
  const uint64_t n_vocab = embeddings == nullptr ? 0 : embeddings->n_rows();
  if (n_vocab > INT32_MAX) {
    return invalid_input(view.where_tensor(*embeddings), "has more rows than there can be token ids");
  }
  TERN_ASSIGN_OR_RETURN(oracle.embeddings_, require(view, "token_embd.weight", n_vocab, n_embd));
  hp.n_vocab = static_cast<int>(n_vocab);
  oracle.head_ = oracle.embeddings_;
  if (view.find_tensor("output.weight") != nullptr) {
    TERN_ASSIGN_OR_RETURN(oracle.head_, require(view, "output.weight", n_vocab, n_embd));
  }
  TERN_ASSIGN_OR_RETURN(oracle.output_norm_, require_vector(view, "output_norm.weight", n_embd));

  for (int index = 0; index < hp.n_layers; ++index) {
    const std::string prefix = fmt::format("blk.{}.", index);
    Layer layer;
    TERN_ASSIGN_OR_RETURN(layer.attn_norm, require_vector(view, prefix + "attn_norm.weight", n_embd));
    TERN_ASSIGN_OR_RETURN(layer.ffn_norm, require_vector(view, prefix + "ffn_norm.weight", n_embd));
    if (hp.sub_norms) {
      TERN_ASSIGN_OR_RETURN(layer.attn_sub_norm, require_vector(view, prefix + "attn_sub_norm.weight", n_embd));
      TERN_ASSIGN_OR_RETURN(layer.ffn_sub_norm, require_vector(view, prefix + "ffn_sub_norm.weight", n_ff));
    }
    TERN_ASSIGN_OR_RETURN(layer.q, require(view, prefix + "attn_q.weight", n_embd, n_embd));
    TERN_ASSIGN_OR_RETURN(layer.k, require(view, prefix + "attn_k.weight", kv_width, n_embd));
    TERN_ASSIGN_OR_RETURN(layer.v, require(view, prefix + "attn_v.weight", kv_width, n_embd));
    TERN_ASSIGN_OR_RETURN(layer.o, require(view, prefix + "attn_output.weight", n_embd, n_embd));
    TERN_ASSIGN_OR_RETURN(layer.gate, require(view, prefix + "ffn_gate.weight", n_ff, n_embd));
    TERN_ASSIGN_OR_RETURN(layer.up, require(view, prefix + "ffn_up.weight", n_ff, n_embd));
    TERN_ASSIGN_OR_RETURN(layer.down, require(view, prefix + "ffn_down.weight", n_embd, n_ff));
    oracle.layers_.push_back(std::move(layer));
  }
  return oracle;
}

}  // namespace tern::oracle
