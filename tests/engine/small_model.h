// A model of one layer, written tensor by tensor, so that tests can leave out, bend or add any part of it.
#pragma once

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tern/gguf/writer.h"
#include "tern/quant/half.h"

namespace tern::test {

// Width 64 (2 query heads, 1 key-value head), feed-forward 96, vocabulary 40, context 24; float weights from a seed.
struct SmallModel {
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dims;
    const quant::Format* format;
  };

  std::vector<std::pair<std::string, gguf::TypedValue>> metadata;
  std::vector<Tensor> tensors;

  explicit SmallModel(const std::string& architecture, const quant::Format* projections = &quant::kF32) {
    const std::string a = architecture + ".";
    metadata = {{"general.architecture", architecture},
                {a + "context_length", uint32_t{24}},
                {a + "embedding_length", uint32_t{64}},
                {a + "block_count", uint32_t{1}},
                {a + "feed_forward_length", uint32_t{96}},
                {a + "attention.head_count", uint32_t{2}},
                {a + "attention.head_count_kv", uint32_t{1}},
                {a + "attention.layer_norm_rms_epsilon", 1e-5f},
                {a + "rope.freq_base", 10000.0f},
                {a + "vocab_size", uint32_t{40}}};
    const quant::Format* f32 = &quant::kF32;
    tensors = {{"token_embd.weight", {64, 40}, f32},
               {"output_norm.weight", {64}, f32},
               {"blk.0.attn_norm.weight", {64}, f32},
               {"blk.0.attn_q.weight", {64, 64}, projections},
               {"blk.0.attn_k.weight", {64, 32}, projections},
               {"blk.0.attn_v.weight", {64, 32}, projections},
               {"blk.0.attn_output.weight", {64, 64}, projections},
               {"blk.0.ffn_norm.weight", {64}, f32},
               {"blk.0.ffn_gate.weight", {64, 96}, projections},
               {"blk.0.ffn_up.weight", {64, 96}, projections},
               {"blk.0.ffn_down.weight", {96, 64}, projections}};
    if (architecture.starts_with("bitnet")) {
      tensors.push_back({"blk.0.attn_sub_norm.weight", {64}, f32});
      tensors.push_back({"blk.0.ffn_sub_norm.weight", {96}, f32});
    }
  }

  void set(const std::string& key, gguf::TypedValue value) {
    erase_key(key);
    metadata.emplace_back(key, std::move(value));
  }
  void erase_key(const std::string& key) {
    std::erase_if(metadata, [&](const auto& entry) { return entry.first == key; });
  }
  void erase_tensor(const std::string& name) {
    std::erase_if(tensors, [&](const Tensor& tensor) { return tensor.name == name; });
  }
  Tensor& tensor(const std::string& name) {
    return *std::find_if(tensors.begin(), tensors.end(), [&](const Tensor& t) { return t.name == name; });
  }

  Status write(const std::filesystem::path& path) const {
    gguf::Header header;
    header.metadata = metadata;
    for (const Tensor& tensor : tensors) header.add_tensor(tensor.name, tensor.dims, *tensor.format);
    TERN_ASSIGN_OR_RETURN(gguf::Writer writer, gguf::Writer::create(path, header));
    std::mt19937 random(5);
    for (size_t i = 0; i < tensors.size(); ++i) {
      TERN_RETURN_IF_ERROR(writer.append(values(tensors[i], header.tensors[i].n_bytes, random)));
    }
    return writer.commit();
  }

 private:
  static std::vector<std::byte> values(const Tensor& tensor, uint64_t n_bytes, std::mt19937& random) {
    std::normal_distribution<float> normal(tensor.dims.size() == 1 ? 1.0f : 0.0f, 0.15f);
    std::vector<std::byte> bytes(n_bytes);
    const size_t width = tensor.format == &quant::kF16 ? 2 : 4;
    for (size_t at = 0; at + width <= bytes.size(); at += width) {
      const float value = normal(random);
      const uint16_t half = quant::float_to_half(value);
      std::memcpy(bytes.data() + at, width == 2 ? static_cast<const void*>(&half) : &value, width);
    }
    return bytes;
  }
};

}  // namespace tern::test
