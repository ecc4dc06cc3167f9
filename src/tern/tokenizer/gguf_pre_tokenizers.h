// The pre-tokenizers that a GGUF may name (tokenizer.ggml.pre): the patterns that cut a text into pieces for BPE.
// Internal to tokenizer/.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/gguf/view.h"

namespace tern::tokenizer {

// A row of the table in gguf_pre_tokenizers.cc.
struct GgufPreTokenizer {
  std::vector<std::string_view> names;
  std::vector<std::string_view> patterns;  // applied one after the other
  bool ignore_merges = false;              // a piece that is a token as a whole becomes that token
  bool add_bos = false;                    // where the file does not say
};

// The row that `view` names; the row "default", with a warning, where it names none. Errors: kInvalidInput at the key;
// the hint lists the table's names.
Result<const GgufPreTokenizer*> find_gguf_pre_tokenizer(const gguf::View& view, std::vector<std::string>& warnings);

}  // namespace tern::tokenizer
