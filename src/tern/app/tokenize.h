// Text to token ids and back, as `tern tokenize` reads and writes them.
#pragma once

#include <iosfwd>
#include <string>

#include "tern/base/error.h"

namespace tern::app {

struct TokenizeOptions {
  std::string tokenizer;    // a tokenizer.json, or a GGUF with a vocabulary
  bool no_special = false;  // encoding adds no special tokens, decoding leaves them out
  bool jsonl = false;       // a JSON value on each line; otherwise `in` as a whole is one text, or one array
  bool decode = false;      // ids to text
};

// What precedes an error is written. Errors: kInvalidInput, naming the line of stdin and the place in it; kIo where
// `out` cannot be written; those of Tokenizer::open().
Status tokenize(const TokenizeOptions& options, std::istream& in, std::ostream& out);

}  // namespace tern::app
