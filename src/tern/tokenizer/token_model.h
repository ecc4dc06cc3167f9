// The step of a tokenizer that turns pieces of text into token ids: byte-level BPE, SentencePiece, ... Internal
// to tokenizer/.
//
// The steps before it (added tokens, normalizer, pre-tokenizer) are the same for all token models; a loader leaves out
// those that its model does without. token_models.h lists the token models.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/tokenizer/vocabulary.h"

namespace tern::tokenizer {

// Const functions are thread-safe.
class TokenModel {
 public:
  virtual ~TokenModel() = default;

  // Appends the ids of one piece: valid UTF-8, not empty, fewer than 2^31 bytes. `vocabulary`: the one that the model
  // was loaded with, with added tokens besides. Errors: kInvalidInput for a piece that the vocabulary cannot spell.
  virtual Status encode(const Vocabulary& vocabulary, std::string_view piece, std::vector<int32_t>& ids) const = 0;

  // Appends the text of one token, which the vocabulary has, to the text of the tokens before it. The bytes need not be
  // valid UTF-8: a character may be split over tokens.
  virtual void append_text(const Vocabulary& vocabulary, int32_t id, std::string& text) const = 0;

 protected:
  TokenModel() = default;
  TokenModel(const TokenModel&) = default;
  TokenModel& operator=(const TokenModel&) = default;
};

}  // namespace tern::tokenizer
