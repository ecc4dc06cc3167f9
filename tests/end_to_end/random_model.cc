#include "end_to_end/random_model.h"

#include <cmath>
#include <functional>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "tern/base/check.h"
#include "tern/gguf/writer.h"
#include "tern/synth/synthetic_vocabulary.h"

namespace tern::test {
namespace {

constexpr uint32_t kFloat32 = 0;  // ggml's number of the type

void add_float_tensor(gguf::Header& header, const std::string& name, std::vector<uint64_t> dims) {
  uint64_t n = 1;
  for (const uint64_t dim : dims) n *= dim;
  header.tensors.push_back({name, std::move(dims), kFloat32, n * sizeof(float)});
}

void add_vocabulary(gguf::Header& header, const RandomModel& model, const synth::SyntheticVocabulary& vocabulary) {
  header.add("tokenizer.ggml.model", std::string("gpt2"));
  header.add("tokenizer.ggml.pre", model.pre_tokenizer);
  header.add("tokenizer.ggml.tokens", vocabulary.tokens);
  header.add("tokenizer.ggml.token_type", vocabulary.token_types);
  header.add("tokenizer.ggml.merges", vocabulary.merges);
  header.add("tokenizer.ggml.bos_token_id", vocabulary.bos);
  header.add("tokenizer.ggml.eos_token_id", vocabulary.eos);
}

void add_hyperparameters(gguf::Header& header, const RandomModel& model) {
  const std::string prefix = model.architecture + ".";
  header.add("general.architecture", model.architecture);
  header.add(prefix + "context_length", uint32_t{256});
  header.add(prefix + "embedding_length", model.n_embd);
  header.add(prefix + "block_count", model.n_layers);
  header.add(prefix + "feed_forward_length", model.n_ff);
  header.add(prefix + "attention.head_count", model.n_heads);
  header.add(prefix + "attention.head_count_kv", model.n_kv_heads);
  header.add(prefix + "attention.key_length", model.head_size);
  header.add(prefix + "attention.value_length", model.head_size);
  header.add(prefix + "attention.layer_norm_rms_epsilon", 1e-6F);
  header.add(prefix + "rope.freq_base", 1e6F);
  if (model.n_experts > 0) {
    header.add(prefix + "expert_count", model.n_experts);
    header.add(prefix + "expert_used_count", uint32_t{2});
    header.add(prefix + "expert_feed_forward_length", model.n_ff);
  }
}

void add_layer(gguf::Header& header, const RandomModel& model, uint32_t layer) {
  const std::string prefix = "blk." + std::to_string(layer) + ".";
  const uint64_t n_embd = model.n_embd, n_ff = model.n_ff, n_experts = model.n_experts, head = model.head_size;
  const auto add = [&](const char* name, std::vector<uint64_t> dims) {
    add_float_tensor(header, prefix + name + ".weight", std::move(dims));
  };
  add("attn_norm", {n_embd});
  add("attn_q", {n_embd, head * model.n_heads});
  add("attn_k", {n_embd, head * model.n_kv_heads});
  add("attn_v", {n_embd, head * model.n_kv_heads});
  add("attn_q_norm", {head});
  add("attn_k_norm", {head});
  add("attn_output", {head * model.n_heads, n_embd});
  add("ffn_norm", {n_embd});
  if (n_experts == 0) {
    add("ffn_gate", {n_embd, n_ff});
    add("ffn_up", {n_embd, n_ff});
    add("ffn_down", {n_ff, n_embd});
  } else {
    add("ffn_gate_inp", {n_embd, n_experts});
    add("ffn_gate_exps", {n_embd, n_ff, n_experts});
    add("ffn_up_exps", {n_embd, n_ff, n_experts});
    add("ffn_down_exps", {n_ff, n_embd, n_experts});
  }
}

// Norms near 1; rows of matrices that keep about the size of what they are multiplied with.
std::vector<float> values_of(const gguf::TensorPlan& tensor, uint64_t seed) {
  std::mt19937_64 random(seed ^ std::hash<std::string>()(tensor.name));
  const auto uniform = [&random] { return static_cast<float>(random() >> 40) * 0x1p-24F - 0.5F; };
  std::vector<float> values(tensor.n_bytes / sizeof(float));
  const bool is_norm = tensor.dims.size() == 1;
  const float scale = std::sqrt(12.0F / static_cast<float>(tensor.dims.front()));
  for (float& value : values) {
    value = is_norm ? 1 + 0.2F * uniform() : scale * uniform();
  }
  return values;
}

}  // namespace

Status write_random_model(const std::filesystem::path& path, const RandomModel& model) {
  const synth::SyntheticVocabulary vocabulary = synth::synthetic_vocabulary(0);
  gguf::Header header;
  add_hyperparameters(header, model);
  add_vocabulary(header, model, vocabulary);
  add_float_tensor(header, "token_embd.weight", {model.n_embd, vocabulary.tokens.size()});
  add_float_tensor(header, "output_norm.weight", {model.n_embd});
  add_float_tensor(header, "output.weight", {model.n_embd, vocabulary.tokens.size()});
  for (uint32_t layer = 0; layer < model.n_layers; ++layer) {
    add_layer(header, model, layer);
  }
  const std::vector<gguf::TensorPlan> tensors = header.tensors;
  TERN_ASSIGN_OR_RETURN(gguf::Writer writer, gguf::Writer::create(path, std::move(header)));
  bool is_altered = model.altered_tensor.empty();
  for (const gguf::TensorPlan& tensor : tensors) {
    std::vector<float> values = values_of(tensor, model.seed);
    if (tensor.name == model.altered_tensor) {
      values.at(model.altered_place) += 1;
      is_altered = true;
    }
    TERN_RETURN_IF_ERROR(writer.append(std::as_bytes(std::span(values))));
  }
  TERN_CHECK(is_altered);
  return writer.commit();
}

}  // namespace tern::test
