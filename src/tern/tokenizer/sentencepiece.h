// SentencePiece's BPE as GGUF carries it (tokenizer.ggml.model = "llama"): tokens with scores instead of a list of
// merges. Internal to tokenizer/.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/tokenizer/token_model.h"
#include "tern/tokenizer/vocabulary.h"

namespace tern::tokenizer {

class SentencePiece final : public TokenModel {
 public:
  // `scores`: one per id. `byte_tokens`: ids of "<0x00>" to "<0xFF>", -1 where missing. `unknown`: -1 for none.
  // `add_space`: whether a space goes in front of each stretch of text (tokenizer.ggml.add_space_prefix).
  SentencePiece(std::vector<float> scores, std::vector<int32_t> byte_tokens, int32_t unknown, bool add_space)
      : scores_(std::move(scores)), byte_tokens_(std::move(byte_tokens)), unknown_(unknown), add_space_(add_space) {}

  // `piece`: the stretch between two special tokens. Joins the neighbours whose joined token has the best score until
  // none is left (llm_tokenizer_spm in llama.cpp). O(n log n). Errors: kInvalidInput for a byte that has no token.
  Status encode(const Vocabulary& vocabulary, std::string_view piece, std::vector<int32_t>& ids) const override;

  // U+2581 is a space, "<0x0A>" the byte 10.
  void append_text(const Vocabulary& vocabulary, int32_t id, std::string& text) const override;

 private:
  std::vector<float> scores_;
  std::vector<int32_t> byte_tokens_;
  int32_t unknown_;
  bool add_space_;
};

}  // namespace tern::tokenizer
