// The vocabulary of synthetic models: a small byte-level BPE that can write any text, padded to the size a model needs.
// The same vocabulary goes into the GGUF and into a tokenizer.json, so that both ways of tokenizing can be tested.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tern::synth {

struct SyntheticVocabulary {
  std::vector<std::string> tokens;   // 256 bytes, merged pairs, 3 special tokens, then [PADn]
  std::vector<int32_t> token_types;  // 1 normal, 3 control, 5 unused (llama.h, enum llama_token_type)
  std::vector<std::string> merges;
  uint32_t n_regular = 0;  // bytes and merged pairs; the special tokens follow
  uint32_t bos = 0;
  uint32_t eos = 0;
};

// `n_tokens`: 0 for as many as there are (269), otherwise at least that many.
SyntheticVocabulary synthetic_vocabulary(uint64_t n_tokens);

// The same as a Hugging Face tokenizer.json: Llama 3's pre-tokenizer and post-processor. Padding tokens are left out.
std::string synthetic_tokenizer_json(const SyntheticVocabulary& vocabulary);

}  // namespace tern::synth
