// How the oracle reads the model file: hyperparameters, and tensors of the shapes that they demand.
#include <fmt/format.h>

#include <string>

#include "tern/oracle/oracle.h"

namespace tern::oracle {
namespace {

// Finds a tensor of exactly this shape in a format that the oracle can compute with.
Result<const gguf::Tensor*> require(const gguf::View& view, const std::string& name, uint64_t n_rows, uint64_t n_cols) {
  const gguf::Tensor* tensor = view.find_tensor(name);
  if (tensor == nullptr) {
    return invalid_input(view.name() + ": tensor " + name, "is missing");
  }
  if (tensor->format == nullptr || !Oracle::can_compute(*tensor->format)) {
    return invalid_input(view.where_tensor(*tensor),
                         "is " + quant::type_name_and_id(tensor->type_id) + ", which the oracle cannot compute with");
  }
  if (tensor->n_rows() != n_rows || tensor->n_cols() != n_cols) {
    return invalid_input(view.where_tensor(*tensor), fmt::format("is {} x {}, where the hyperparameters demand {} x {}",
                                                                 tensor->n_rows(), tensor->n_cols(), n_rows, n_cols));
  }
  return tensor;
}

Result<std::vector<double>> require_vector(const gguf::View& view, const std::string& name, uint64_t n) {
  TERN_ASSIGN_OR_RETURN(const gguf::Tensor* tensor, require(view, name, 1, n));
  if (!tensor->format->is_float()) {
    return invalid_input(view.where_tensor(*tensor),
                         fmt::format("is {}, where a norm needs F32 or F16", tensor->format->name));
  }
  WeightRow row;
  decode_row(*tensor, 0, row);
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
