// Everything that makes up one tokenizer, as the loaders fill it in. Internal to tokenizer/.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/gguf/view.h"
#include "tern/tokenizer/text/added_tokens.h"
#include "tern/tokenizer/text/normalizer.h"
#include "tern/tokenizer/text/pre_tokenizer.h"
#include "tern/tokenizer/token_model.h"
#include "tern/tokenizer/vocabulary.h"

namespace tern::tokenizer {

struct Definition {
  std::string_view kind;  // "hf-json" or "gguf"
  std::string where;      // the file, for messages
  std::string sha256;
  Vocabulary vocabulary;
  std::unique_ptr<const TokenModel> token_model;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  // GGUF with byte-level BPE: tokenizer.ggml.pre, empty where it is missing. Absent: no such key decides.
  std::optional<std::string> pre_tokenizer_name;
  AddedTokens added_tokens;
  std::vector<int32_t> prefix;  // what encode() puts in front of the text's ids, and behind them
  std::vector<int32_t> suffix;
  std::optional<int32_t> declared_bos;  // GGUF: tokenizer.ggml.bos_token_id, whether it is put in front or not
  std::vector<int32_t> end_of_text;     // sorted
  std::vector<std::string> warnings;
};

// Errors: kInvalidInput, with the place as a JSON pointer or a metadata key.
Result<Definition> load_json(std::string_view json, const std::string& where);
Result<Definition> load_gguf(const gguf::View& view);

// Spellings of tokens that end a text, in the vocabularies of today's models.
bool is_end_of_text_spelling(std::string_view spelling);

}  // namespace tern::tokenizer
