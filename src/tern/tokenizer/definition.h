// Everything that makes up one tokenizer, as the loaders fill it in. Internal to tokenizer/.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/gguf/view.h"
#include "tern/tokenizer/bpe.h"
#include "tern/tokenizer/sentencepiece.h"
#include "tern/tokenizer/text/added_tokens.h"
#include "tern/tokenizer/text/normalizer.h"
#include "tern/tokenizer/text/pre_tokenizer.h"
#include "tern/tokenizer/vocabulary.h"

namespace tern::tokenizer {

struct Definition {
  std::string_view kind;  // "hf-json" or "gguf"
  std::string where;      // the file, for messages
  std::string sha256;
  Vocabulary vocabulary;
  Bpe bpe;
  std::optional<SentencePiece> sentencepiece;  // instead of bpe
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  AddedTokens added_tokens;
  std::vector<int32_t> prefix;  // what encode() puts in front of the text's ids, and behind them
  std::vector<int32_t> suffix;
  std::optional<int32_t> declared_bos;  // GGUF: tokenizer.ggml.bos_token_id, whether it is put in front or not
  std::vector<int32_t> end_of_text;     // sorted
  std::vector<std::string> warnings;
};

// The merges of one file, with what a user must know about them.
class MergeList {
 public:
  explicit MergeList(Definition& definition) : definition_(definition) {}
  // `where` is called for the place only when there is something to say. Errors: kInvalidInput.
  template <class Where>
  Status add(std::string_view left, std::string_view right, const Where& where) {
    const auto outcome = definition_.bpe.add_merge(definition_.vocabulary, rank_++, left, right);
    return outcome == Bpe::MergeOutcome::kAdded ? Status{} : report(outcome, left, right, where());
  }
  // Adds the warning about unusable merges, if there were any.
  void finish();

 private:
  Status report(Bpe::MergeOutcome outcome, std::string_view left, std::string_view right, const std::string& where);

  Definition& definition_;
  uint32_t rank_ = 0;
  uint32_t n_unusable_ = 0;
  std::string first_unusable_;
};

// Errors: kInvalidInput, with the place as a JSON pointer or a metadata key.
Result<Definition> load_json(std::string_view json, const std::string& where);
Result<Definition> load_gguf(const gguf::View& view);

// Spellings of tokens that end a text, in the vocabularies of today's models.
bool is_end_of_text_spelling(std::string_view spelling);

}  // namespace tern::tokenizer
