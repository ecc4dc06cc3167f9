// The vocabulary that a GGUF file carries (tokenizer.ggml.*) -> Definition, read as bitnet.cpp's llama.cpp reads it:
// llm_load_vocab in src/llama.cpp.
#include <algorithm>

#include "tern/base/hash.h"
#include "tern/tokenizer/definition.h"
#include "tern/tokenizer/text/unicode.h"
#include "tern/tokenizer/token_models.h"

namespace tern::tokenizer {
namespace {

class GgufLoader {
 public:
  GgufLoader(const gguf::View& view, Definition& definition)
      : view_(view), out_(definition), tokens_{.view = view, .spellings = {}, .types = {}} {}

  Status load() {
    TERN_ASSIGN_OR_RETURN(const GgufTokenModel* model, find_gguf_token_model(view_));
    TERN_RETURN_IF_ERROR(load_types());
    TERN_RETURN_IF_ERROR(load_tokens());
    TERN_ASSIGN_OR_RETURN(const bool add_bos, model->load(tokens_, out_));
    TERN_RETURN_IF_ERROR(load_special_ids(*model, add_bos));
    TERN_RETURN_IF_ERROR(load_added_tokens());
    out_.sha256 = listing_hash();
    return {};
  }

 private:
  Status load_types() {
    TERN_ASSIGN_OR_RETURN(tokens_.spellings, view_.get_strings("tokenizer.ggml.tokens"));
    const auto* metadata = view_.find("tokenizer.ggml.token_type");
    if (metadata == nullptr) {
      tokens_.types.assign(tokens_.spellings.size(), GgufTokens::kNormal);
      return {};
    }
    if (const auto* numbers = std::get_if<std::vector<int64_t>>(&metadata->value)) {
      tokens_.types = *numbers;
    } else if (const auto* unsigned_numbers = std::get_if<std::vector<uint64_t>>(&metadata->value)) {
      for (const uint64_t number : *unsigned_numbers) {
        tokens_.types.push_back(number > GgufTokens::kByte ? 0 : static_cast<int64_t>(number));
      }
    } else {
      return invalid_input(view_.where_key("tokenizer.ggml.token_type"), "is not an array of integers");
    }
    if (tokens_.types.size() != tokens_.spellings.size()) {
      return invalid_input(view_.where_key("tokenizer.ggml.token_type"),
                           "has " + std::to_string(tokens_.types.size()) + " entries for " +
                               std::to_string(tokens_.spellings.size()) + " tokens");
    }
    return {};
  }

  Status load_tokens() {
    if (tokens_.spellings.empty() || tokens_.spellings.size() > static_cast<size_t>(Vocabulary::kMaxIds)) {
      return invalid_input(
          view_.where_key("tokenizer.ggml.tokens"),
          "has " + std::to_string(tokens_.spellings.size()) + " tokens, not 1.." + std::to_string(Vocabulary::kMaxIds));
    }
    out_.vocabulary.reserve(tokens_.spellings.size(), 8 * tokens_.spellings.size());
    for (size_t id = 0; id < tokens_.spellings.size(); ++id) {
      const auto place = [&] { return view_.where_key("tokenizer.ggml.tokens") + "[" + std::to_string(id) + "]"; };
      uint8_t flags = Vocabulary::kModel;
      if (is_control(id)) flags |= Vocabulary::kAdded | Vocabulary::kSpecial;
      if (tokens_.types[id] == GgufTokens::kUserDefined) flags |= Vocabulary::kAdded;
      const std::string stand_in = tokens_.spellings[id].empty() ? "[EMPTY_" + std::to_string(id) + "]" : std::string();
      TERN_RETURN_IF_ERROR(out_.vocabulary.add(
          static_cast<int64_t>(id), tokens_.spellings[id].empty() ? stand_in : tokens_.spellings[id], flags, place));
    }
    return {};
  }

  bool is_control(size_t id) const {
    return tokens_.types[id] == GgufTokens::kControl || tokens_.types[id] == GgufTokens::kUnknown;
  }

  // A token id under `key`; nullopt where the file does not have the key.
  Result<std::optional<int32_t>> find_id(std::string_view key) const {
    if (!view_.has(key)) {
      return std::nullopt;
    }
    TERN_ASSIGN_OR_RETURN(const uint64_t id, view_.get_uint(key, 0, tokens_.spellings.size() - 1));
    return static_cast<int32_t>(id);
  }

  Status load_special_ids(const GgufTokenModel& model, bool add_bos) {
    bool add_eos = false;
    if (view_.has("tokenizer.ggml.add_bos_token")) {
      TERN_ASSIGN_OR_RETURN(add_bos, view_.get_bool("tokenizer.ggml.add_bos_token"));
    }
    if (view_.has("tokenizer.ggml.add_eos_token")) {
      TERN_ASSIGN_OR_RETURN(add_eos, view_.get_bool("tokenizer.ggml.add_eos_token"));
    }
    TERN_ASSIGN_OR_RETURN(out_.declared_bos, find_id("tokenizer.ggml.bos_token_id"));
    TERN_ASSIGN_OR_RETURN(const auto declared_eos, find_id("tokenizer.ggml.eos_token_id"));
    if (add_bos) {
      TERN_ASSIGN_OR_RETURN(const int32_t bos, declared_or_default(out_.declared_bos, model.default_bos, "bos"));
      out_.prefix.push_back(bos);
    }
    if (add_eos) {
      TERN_ASSIGN_OR_RETURN(const int32_t eos, declared_or_default(declared_eos, model.default_eos, "eos"));
      out_.suffix.push_back(eos);
    }
    if (declared_eos) {
      out_.end_of_text.push_back(*declared_eos);
    }
    for (const char* key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
      TERN_ASSIGN_OR_RETURN(const auto id, find_id(key));
      if (id) {
        out_.end_of_text.push_back(*id);
      }
    }
    return {};
  }

  Result<int32_t> declared_or_default(std::optional<int32_t> declared, int32_t fallback, const std::string& name) {
    if (declared) {
      return *declared;
    }
    const std::string where = view_.where_key("tokenizer.ggml." + name + "_token_id");
    if (fallback >= out_.vocabulary.size()) {
      return invalid_input(where, "is missing, though tokenizer.ggml.add_" + name + "_token requires one");
    }
    out_.warnings.push_back(where + ": is missing; bitnet.cpp then takes id " + std::to_string(fallback) +
                            ", and so does tern");
    return fallback;
  }

  // Control tokens are looked for in the text too: a prompt is read as the Hugging Face library reads it.
  Status load_added_tokens() {
    std::vector<AddedToken> added;
    for (size_t id = 0; id < tokens_.spellings.size(); ++id) {
      const std::string_view spelled = tokens_.spellings[id];
      const auto token_id = static_cast<int32_t>(id);
      if (!is_control(id) && tokens_.types[id] != GgufTokens::kUserDefined) {
        continue;
      }
      if (is_end_of_text_spelling(spelled)) {
        out_.end_of_text.push_back(token_id);
      }
      if (spelled.empty()) {
        continue;
      }
      const auto place = [&] { return view_.where_key("tokenizer.ggml.tokens") + "[" + std::to_string(id) + "]"; };
      if (spelled.size() > AddedTokens::kMaxContentBytes) {
        return invalid_input(place(),
                             "a special token of " + std::to_string(spelled.size()) + " bytes is not supported");
      }
      if (first_invalid_utf8(spelled)) {
        return invalid_input(place(), "a special token that is not UTF-8 is not supported");
      }
      added.push_back({.content = std::string(spelled), .id = token_id, .special = is_control(id)});
    }
    TERN_ASSIGN_OR_RETURN(out_.added_tokens, AddedTokens::create(std::move(added), out_.normalizer));
    return {};
  }

  // Of "length:spelling type\n" for every token, then the merges in the same way.
  std::string listing_hash() const {
    std::string listing;
    for (size_t id = 0; id < tokens_.spellings.size(); ++id) {
      listing.append(std::to_string(tokens_.spellings[id].size())).append(1, ':').append(tokens_.spellings[id]);
      listing.append(1, ' ').append(std::to_string(tokens_.types[id])).append(1, '\n');
    }
    if (const auto merges = view_.get_strings("tokenizer.ggml.merges")) {
      for (const std::string_view merge : *merges) {
        listing.append(std::to_string(merge.size())).append(1, ':').append(merge).append(1, '\n');
      }
    }
    return sha256_hex(std::as_bytes(std::span(listing.data(), listing.size())));
  }

  const gguf::View& view_;
  Definition& out_;
  GgufTokens tokens_;
};

}  // namespace

Result<Definition> load_gguf(const gguf::View& view) {
  Definition definition;
  definition.kind = "gguf";
  definition.where = view.name();
  TERN_RETURN_IF_ERROR(GgufLoader(view, definition).load());
  return definition;
}

}  // namespace tern::tokenizer
