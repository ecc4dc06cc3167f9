// The token models that files may name, each with the function that loads it. Internal to tokenizer/.
//
// One more token model is one file with a subclass of TokenModel and its loaders, and one row in each of the tables in
// token_models.cc whose kind of file can carry it.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/gguf/view.h"
#include "tern/tokenizer/definition.h"
#include "tern/tokenizer/json_node.h"
#include "tern/tokenizer/token_model.h"

namespace tern::tokenizer {

// A row per `model.type` of a tokenizer.json.
struct JsonTokenModel {
  std::string_view type;
  // Its pieces are bytes in the alphabet of byte-level BPE, so the file must have the pre-tokenizer ByteLevel.
  // Otherwise it may go without any pre-tokenizer.
  bool needs_byte_level;
  // Fills the vocabulary, and sets `token_model`, from the value of `model`. Errors: kInvalidInput at its place.
  Status (*load)(const Node& model, Definition& definition);
};

// The tokens of a GGUF, as its tokenizer.ggml.* arrays list them.
struct GgufTokens {
  enum Type : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  const gguf::View& view;
  std::span<const std::string_view> spellings;
  std::vector<int64_t> types;  // one per spelling
};

// A row per `tokenizer.ggml.model` of a GGUF.
struct GgufTokenModel {
  std::string_view name;
  // Taken where the file names none but requires them in front of and behind a text, as llama.cpp does.
  int32_t default_bos, default_eos;
  // Sets `token_model`, and pre-tokenizer and normalizer where it has them; the vocabulary is complete. Returns whether
  // BOS is put in front of a text where the file does not say. Errors: kInvalidInput at a metadata key.
  Result<bool> (*load)(const GgufTokens& tokens, Definition& definition);
};

// Errors: kInvalidInput at `type`; the hint lists the table's names. A file without `model.type` holds BPE.
Result<const JsonTokenModel*> find_json_token_model(const Node& model);
// Errors: kInvalidInput at the key; the hint lists the table's names.
Result<const GgufTokenModel*> find_gguf_token_model(const gguf::View& view);

}  // namespace tern::tokenizer
