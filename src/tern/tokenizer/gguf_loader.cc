// The vocabulary that a GGUF file carries (tokenizer.ggml.*) -> Definition, read as bitnet.cpp's llama.cpp reads it:
// llm_load_vocab in src/llama.cpp and llm_tokenizer_bpe in src/llama-vocab.cpp.
#include <algorithm>
#include <array>
#include <cmath>

#include "tern/base/hash.h"
#include "tern/tokenizer/definition.h"
#include "tern/tokenizer/text/unicode.h"

namespace tern::tokenizer {
namespace {

enum TokenType : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

constexpr std::string_view kLlama3 =
    R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))";
// llama.cpp's approximation of Mistral's own pattern, which tells upper from lower case in all scripts.
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?(?:(?=\p{L})[^a-z])*(?:(?=\p{L})[^A-Z])+|[^\r\n\p{L}\p{N}]?(?:(?=\p{L})[^a-z])+(?:(?=\p{L})[^A-Z])*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kFalconPunctuation = R"([\p{P}\$\+<=>\^~\|`]+)";
constexpr std::string_view kDefaultPunctuation = R"([\p{P}\$\+<=>\^~\|]+)";

// tokenizer.ggml.pre: patterns applied one after the other, and what goes with them.
struct Pre {
  std::vector<std::string_view> patterns;
  bool ignore_merges = false;
  bool add_bos = false;
};

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::optional<Pre> pre_by_name(std::string_view name) {
  if (is_one_of(name, {"llama3", "llama-v3", "llama-bpe"})) return Pre{{kLlama3}, true, true};
  if (is_one_of(name, {"dbrx", "smaug-bpe", "chatglm-bpe"})) return Pre{{kLlama3}};
  if (is_one_of(name, {"qwen2", "stablelm2", "deepseek-r1-qwen", "megrez"})) return Pre{{kQwen2}};
  if (is_one_of(name, {"gpt-2", "phi-2", "mpt", "olmo", "jais", "jina-es", "jina-de", "jina-v1-en", "jina-v2-es",
                       "jina-v2-de", "jina-v2-code"})) {
    return Pre{{kGpt2}};
  }
  if (is_one_of(name, {"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone"})) {
    return Pre{{"\\p{N}", kGpt2}};
  }
  if (name == "falcon") return Pre{{kFalconPunctuation, kGpt2, "[0-9][0-9][0-9]"}};
  if (is_one_of(name, {"falcon3", "falcon_e"})) return Pre{{kFalconPunctuation, kGpt2, "[0-9]"}};
  if (name == "tekken") return Pre{{kTekken}, true, true};
  if (name == "default") return Pre{{kDefaultPunctuation, kGpt2, "\\p{N}+", "[0-9][0-9][0-9]"}};
  return std::nullopt;
}

class GgufLoader {
 public:
  GgufLoader(const gguf::View& view, Definition& definition) : view_(view), out_(definition) {}

  Status load() {
    TERN_ASSIGN_OR_RETURN(const std::string_view model, view_.get_string("tokenizer.ggml.model"));
    if (model != "gpt2" && model != "llama") {
      return invalid_input(view_.where_key("tokenizer.ggml.model"),
                           "the vocabulary type '" + printable(model, 60) + "' is not supported", "gpt2 and llama are");
    }
    TERN_RETURN_IF_ERROR(load_types());
    TERN_RETURN_IF_ERROR(load_tokens());
    TERN_RETURN_IF_ERROR(model == "gpt2" ? load_byte_level_bpe() : load_sentencepiece());
    TERN_RETURN_IF_ERROR(load_special_ids(model == "gpt2" ? 11 : 1, model == "gpt2" ? 11 : 2));
    TERN_RETURN_IF_ERROR(load_added_tokens());
    out_.sha256 = listing_hash();
    return {};
  }

 private:
  Status load_types() {
    TERN_ASSIGN_OR_RETURN(tokens_, view_.get_strings("tokenizer.ggml.tokens"));
    const auto* metadata = view_.find("tokenizer.ggml.token_type");
    if (metadata == nullptr) {
      types_.assign(tokens_.size(), kNormal);
      return {};
    }
    if (const auto* numbers = std::get_if<std::vector<int64_t>>(&metadata->value)) {
      types_ = *numbers;
    } else if (const auto* unsigned_numbers = std::get_if<std::vector<uint64_t>>(&metadata->value)) {
      for (const uint64_t number : *unsigned_numbers) {
        types_.push_back(number > 6 ? 0 : static_cast<int64_t>(number));
      }
    } else {
      return invalid_input(view_.where_key("tokenizer.ggml.token_type"), "is not an array of integers");
    }
    if (types_.size() != tokens_.size()) {
      return invalid_input(
          view_.where_key("tokenizer.ggml.token_type"),
          "has " + std::to_string(types_.size()) + " entries for " + std::to_string(tokens_.size()) + " tokens");
    }
    return {};
  }

  Status load_tokens() {
    if (tokens_.empty() || tokens_.size() > static_cast<size_t>(Vocabulary::kMaxIds)) {
      return invalid_input(
          view_.where_key("tokenizer.ggml.tokens"),
          "has " + std::to_string(tokens_.size()) + " tokens, not 1.." + std::to_string(Vocabulary::kMaxIds));
    }
    out_.vocabulary.reserve(tokens_.size(), 8 * tokens_.size());
    for (size_t id = 0; id < tokens_.size(); ++id) {
      const auto place = [&] { return view_.where_key("tokenizer.ggml.tokens") + "[" + std::to_string(id) + "]"; };
      uint8_t flags = Vocabulary::kModel;
      if (is_one_of_types(id, {kControl, kUnknown})) flags |= Vocabulary::kAdded | Vocabulary::kSpecial;
      if (types_[id] == kUserDefined) flags |= Vocabulary::kAdded;
      const std::string stand_in = tokens_[id].empty() ? "[EMPTY_" + std::to_string(id) + "]" : std::string();
      TERN_RETURN_IF_ERROR(
          out_.vocabulary.add(static_cast<int64_t>(id), tokens_[id].empty() ? stand_in : tokens_[id], flags, place));
    }
    return {};
  }

  bool is_one_of_types(size_t id, std::initializer_list<int64_t> wanted) const {
    return std::find(wanted.begin(), wanted.end(), types_[id]) != wanted.end();
  }

  Status load_byte_level_bpe() {
    TERN_RETURN_IF_ERROR(load_pre());
    TERN_ASSIGN_OR_RETURN(const auto merges, view_.get_strings("tokenizer.ggml.merges"));
    out_.bpe.reserve(merges.size());
    MergeList list(out_);
    for (size_t i = 0; i < merges.size(); ++i) {
      const auto place = [&] { return view_.where_key("tokenizer.ggml.merges") + "[" + std::to_string(i) + "]"; };
      const size_t space = merges[i].find(' ', 1);
      if (space == std::string_view::npos) {
        return invalid_input(place(), "'" + printable(merges[i], 60) + "' is not two tokens with a space between");
      }
      TERN_RETURN_IF_ERROR(list.add(merges[i].substr(0, space), merges[i].substr(space + 1), place));
    }
    list.finish();
    out_.bpe.set_byte_tokens(out_.vocabulary.byte_tokens());
    return {};
  }

  Status load_pre() {
    std::string_view name;
    if (view_.has("tokenizer.ggml.pre")) {
      TERN_ASSIGN_OR_RETURN(name, view_.get_string("tokenizer.ggml.pre"));
    }
    if (name.empty()) {
      name = "default";
      out_.warnings.push_back(
          view_.where_key("tokenizer.ggml.pre") +
          ": is missing, so that texts are split by the 'default' rules, as bitnet.cpp does; token ids "
          "may differ from those the model was trained on (convert the model again)");
    }
    const auto pre = pre_by_name(name);
    if (!pre) {
      return invalid_input(view_.where_key("tokenizer.ggml.pre"),
                           "the pre-tokenizer '" + printable(name, 60) + "' is not supported");
    }
    for (const std::string_view pattern : pre->patterns) {
      TERN_ASSIGN_OR_RETURN(Regex regex, Regex::compile(pattern, view_.where_key("tokenizer.ggml.pre")));
      out_.pre_tokenizer.add_split(std::move(regex), SplitBehavior::kIsolated, false);
    }
    out_.bpe.set_ignore_merges(pre->ignore_merges);
    add_bos_ = pre->add_bos;
    return {};
  }

  Status load_sentencepiece() {
    const auto* metadata = view_.find("tokenizer.ggml.scores");
    const auto* numbers = metadata == nullptr ? nullptr : std::get_if<std::vector<double>>(&metadata->value);
    if (numbers == nullptr || numbers->size() != tokens_.size()) {
      return invalid_input(view_.where_key("tokenizer.ggml.scores"),
                           "is not an array of " + std::to_string(tokens_.size()) + " floats, one per token");
    }
    std::vector<float> scores;
    for (const double number : *numbers) {
      if (std::isnan(number)) {
        return invalid_input(view_.where_key("tokenizer.ggml.scores") + "[" + std::to_string(scores.size()) + "]",
                             "is NaN");
      }
      scores.push_back(static_cast<float>(number));
    }
    constexpr std::string_view kHex = "0123456789ABCDEF";
    std::vector<int32_t> byte_tokens;
    for (size_t byte = 0; byte < 256; ++byte) {
      const std::string spelled = std::string("<0x") + kHex[byte / 16] + kHex[byte % 16] + ">";
      const auto id = out_.vocabulary.find(spelled);
      byte_tokens.push_back(id && types_[static_cast<size_t>(*id)] == kByte ? *id : -1);
    }
    const auto unknown = std::find(types_.begin(), types_.end(), kUnknown);
    out_.sentencepiece.emplace(std::move(scores), std::move(byte_tokens),
                               unknown == types_.end() ? -1 : static_cast<int32_t>(unknown - types_.begin()));
    add_bos_ = true;
    bool add_space = true;
    if (view_.has("tokenizer.ggml.add_space_prefix")) {
      TERN_ASSIGN_OR_RETURN(add_space, view_.get_bool("tokenizer.ggml.add_space_prefix"));
    }
    out_.sentencepiece->set_add_space(add_space);
    return {};
  }

  // A token id under `key`; nullopt where the file does not have the key.
  Result<std::optional<int32_t>> find_id(std::string_view key) const {
    if (!view_.has(key)) {
      return std::nullopt;
    }
    TERN_ASSIGN_OR_RETURN(const uint64_t id, view_.get_uint(key, 0, tokens_.size() - 1));
    return static_cast<int32_t>(id);
  }

  Status load_special_ids(int32_t default_bos, int32_t default_eos) {
    bool add_eos = false;
    if (view_.has("tokenizer.ggml.add_bos_token")) {
      TERN_ASSIGN_OR_RETURN(add_bos_, view_.get_bool("tokenizer.ggml.add_bos_token"));
    }
    if (view_.has("tokenizer.ggml.add_eos_token")) {
      TERN_ASSIGN_OR_RETURN(add_eos, view_.get_bool("tokenizer.ggml.add_eos_token"));
    }
    TERN_ASSIGN_OR_RETURN(out_.declared_bos, find_id("tokenizer.ggml.bos_token_id"));
    TERN_ASSIGN_OR_RETURN(const auto declared_eos, find_id("tokenizer.ggml.eos_token_id"));
    if (add_bos_) {
      TERN_ASSIGN_OR_RETURN(const int32_t bos, declared_or_default(out_.declared_bos, default_bos, "bos"));
      out_.prefix.push_back(bos);
    }
    if (add_eos) {
      TERN_ASSIGN_OR_RETURN(const int32_t eos, declared_or_default(declared_eos, default_eos, "eos"));
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
      return invalid_input(where, "is missing, though tokenizer.ggml.add_" + name + "_token asks for one");
    }
    out_.warnings.push_back(where + ": is missing; bitnet.cpp then takes id " + std::to_string(fallback) +
                            ", and so does tern");
    return fallback;
  }

  // Control tokens are looked for in the text too: a prompt is read as the Hugging Face library reads it.
  Status load_added_tokens() {
    std::vector<AddedToken> added;
    for (size_t id = 0; id < tokens_.size(); ++id) {
      const auto token_id = static_cast<int32_t>(id);
      const bool ends_text = is_end_of_text_spelling(tokens_[id]);
      const bool is_control = is_one_of_types(id, {kControl, kUnknown});
      if (ends_text && (is_control || types_[id] == kUserDefined)) {
        out_.end_of_text.push_back(token_id);
      }
      if ((is_control || types_[id] == kUserDefined) && !tokens_[id].empty()) {
        if (tokens_[id].size() > AddedTokens::kMaxContentBytes) {
          return invalid_input(view_.where_key("tokenizer.ggml.tokens") + "[" + std::to_string(id) + "]",
                               "a special token of " + std::to_string(tokens_[id].size()) + " bytes is not supported");
        }
        if (first_invalid_utf8(tokens_[id])) {
          return invalid_input(view_.where_key("tokenizer.ggml.tokens") + "[" + std::to_string(id) + "]",
                               "a special token that is not UTF-8 is not supported");
        }
        added.push_back({.content = std::string(tokens_[id]), .id = token_id, .special = is_control});
      }
    }
    TERN_ASSIGN_OR_RETURN(out_.added_tokens, AddedTokens::create(std::move(added), out_.normalizer));
    return {};
  }

  // Of "length:spelling type\n" for every token, then the merges in the same way.
  std::string listing_hash() const {
    std::string listing;
    for (size_t id = 0; id < tokens_.size(); ++id) {
      listing.append(std::to_string(tokens_[id].size())).append(1, ':').append(tokens_[id]);
      listing.append(1, ' ').append(std::to_string(types_[id])).append(1, '\n');
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
  std::span<const std::string_view> tokens_;
  std::vector<int64_t> types_;
  bool add_bos_ = false;
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
