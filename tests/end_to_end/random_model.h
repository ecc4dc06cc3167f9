// Small random models of architectures without a row in arch/, for tests with an engine that does.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "tern/base/error.h"

namespace tern::test {

struct RandomModel {
  std::string architecture;  // "qwen3", or "qwen3moe" with experts
  uint32_t n_layers = 2;
  uint32_t n_embd = 128;
  uint32_t n_heads = 4;
  uint32_t n_kv_heads = 2;
  uint32_t head_size = 32;  // a multiple of ggml's blocks of 32, so that a cache can be quantized
  uint32_t n_ff = 256;      // of one expert, where there are any
  uint32_t n_experts = 0;   // 0: none; two are used for each token
  std::string pre_tokenizer = "llama-bpe";
  uint64_t seed = 1;
  // A weight that is another one than the seed gives: "blk.1.ffn_up_exps.weight" and its place; empty: none.
  std::string altered_tensor = {};
  uint64_t altered_place = 0;
};

// Float32 weights and tern's synthetic vocabulary. Errors: kIo.
Status write_random_model(const std::filesystem::path& path, const RandomModel& model);

}  // namespace tern::test
