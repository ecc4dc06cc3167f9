// tokenizer.json of the Hugging Face tokenizers library -> Definition. What tern would not encode exactly as that
// library does is refused by name.
#include "tern/base/hash.h"
#include "tern/tokenizer/definition.h"
#include "tern/tokenizer/json_node.h"
#include "tern/tokenizer/token_models.h"

namespace tern::tokenizer {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

constexpr int kMaxSequenceDepth = 8;

// GPT-2's own pattern (encoder.py), which ByteLevel uses unless use_regex is false.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

class JsonLoader {
 public:
  explicit JsonLoader(Definition& definition) : out_(definition) {}

  Status load(const Node& root) {
    TERN_ASSIGN_OR_RETURN(const Node model, root.need("model"));
    TERN_ASSIGN_OR_RETURN(const JsonTokenModel* token_model, find_json_token_model(model));
    TERN_RETURN_IF_ERROR(token_model->load(model, out_));
    TERN_ASSIGN_OR_RETURN(const auto normalizer, root.find("normalizer"));
    if (normalizer && !normalizer->is_null()) {
      TERN_RETURN_IF_ERROR(load_normalizer(*normalizer, 0));
    }
    TERN_ASSIGN_OR_RETURN(const auto added, root.find("added_tokens"));
    if (added && !added->is_null()) {
      TERN_RETURN_IF_ERROR(load_added_tokens(*added));
    }
    TERN_RETURN_IF_ERROR(load_pre_tokenizers(root, *token_model));
    TERN_ASSIGN_OR_RETURN(const auto post_processor, root.find("post_processor"));
    if (post_processor && !post_processor->is_null()) {
      TERN_RETURN_IF_ERROR(load_post_processor(*post_processor, 0));
    }
    TERN_ASSIGN_OR_RETURN(const auto decoder, root.find("decoder"));
    if (decoder && !decoder->is_null()) {
      TERN_RETURN_IF_ERROR(check_decoder(*decoder, 0));
    }
    for (const char* key : {"truncation", "padding"}) {
      TERN_ASSIGN_OR_RETURN(const auto found, root.find(key));
      if (found && !found->is_null()) {
        out_.warnings.push_back(found->where() + ": is set; tern encodes texts whole and does not apply it");
      }
    }
    return {};
  }

 private:
  Status load_added_tokens(const Node& added) {
    TERN_ASSIGN_OR_RETURN(const array all, added.items());
    std::vector<AddedToken> tokens;
    for (const element value : all) {
      const Node entry = added.item(value, tokens.size());
      TERN_ASSIGN_OR_RETURN(AddedToken token, read_added_token(entry));
      TERN_RETURN_IF_ERROR(register_added_token(entry, token));
      tokens.push_back(std::move(token));
    }
    TERN_ASSIGN_OR_RETURN(out_.added_tokens, AddedTokens::create(std::move(tokens), out_.normalizer));
    return {};
  }

  static Result<AddedToken> read_added_token(const Node& entry) {
    AddedToken token;
    TERN_ASSIGN_OR_RETURN(const Node content, entry.need("content"));
    TERN_ASSIGN_OR_RETURN(const std::string_view text, content.string());
    if (text.empty() || text.size() > AddedTokens::kMaxContentBytes) {
      return content.refused("has " + std::to_string(text.size()) + " bytes, not 1.." +
                             std::to_string(AddedTokens::kMaxContentBytes));
    }
    token.content = text;
    TERN_ASSIGN_OR_RETURN(const Node id, entry.need("id"));
    TERN_ASSIGN_OR_RETURN(const int64_t number, id.integer());
    if (number < 0 || number >= Vocabulary::kMaxIds) {
      return id.refused("token id " + std::to_string(number) + " is outside of 0.." +
                        std::to_string(Vocabulary::kMaxIds - 1));
    }
    token.id = static_cast<int32_t>(number);
    TERN_ASSIGN_OR_RETURN(token.special, entry.flag("special", false));
    TERN_ASSIGN_OR_RETURN(token.single_word, entry.flag("single_word", false));
    TERN_ASSIGN_OR_RETURN(token.lstrip, entry.flag("lstrip", false));
    TERN_ASSIGN_OR_RETURN(token.rstrip, entry.flag("rstrip", false));
    TERN_ASSIGN_OR_RETURN(token.normalized, entry.flag("normalized", !token.special));
    return token;
  }

  Status register_added_token(const Node& entry, const AddedToken& token) {
    const auto flags =
        static_cast<uint8_t>(Vocabulary::kAdded | (token.special ? uint8_t{Vocabulary::kSpecial} : uint8_t{0}));
    if (is_end_of_text_spelling(token.content)) {
      out_.end_of_text.push_back(token.id);
    }
    const auto known = out_.vocabulary.find(token.content);
    if (known && *known == token.id) {
      if ((out_.vocabulary.flags(token.id) & Vocabulary::kAdded) != 0) {
        return entry.refused("the added token " + in_quotes(token.content) + " is listed twice");
      }
      out_.vocabulary.set_flags(token.id, flags);
      return {};
    }
    return out_.vocabulary.add(token.id, token.content, flags, [&] { return entry.where(); });
  }

  Status load_normalizer(const Node& normalizer, int depth) {
    TERN_ASSIGN_OR_RETURN(const std::string_view type, normalizer.type());
    if (type == "Sequence") {
      return each_of(normalizer, "normalizers", depth,
                     [this](const Node& step, int d) { return load_normalizer(step, d); });
    }
    if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
      out_.normalizer.add(type == "NFC"    ? NormalForm::kNfc
                          : type == "NFD"  ? NormalForm::kNfd
                          : type == "NFKC" ? NormalForm::kNfkc
                                           : NormalForm::kNfkd);
      return {};
    }
    if (type == "Prepend") {
      TERN_ASSIGN_OR_RETURN(const Node prepend, normalizer.need("prepend"));
      TERN_ASSIGN_OR_RETURN(const std::string_view content, prepend.string());
      out_.normalizer.add(Normalizer::Prepend{std::string(content)});
      return {};
    }
    if (type == "Replace") {
      TERN_ASSIGN_OR_RETURN(Regex pattern, read_pattern(normalizer));
      TERN_ASSIGN_OR_RETURN(const Node content, normalizer.need("content"));
      TERN_ASSIGN_OR_RETURN(const std::string_view text, content.string());
      out_.normalizer.add(Normalizer::Replace{std::move(pattern), std::string(text)});
      return {};
    }
    return normalizer.refused("the normalizer " + in_quotes(type) + " is not supported");
  }

  // Byte-level BPE without ByteLevel would find no tokens; the Hugging Face library needs no pre-tokenizer elsewhere.
  Status load_pre_tokenizers(const Node& root, const JsonTokenModel& token_model) {
    TERN_ASSIGN_OR_RETURN(const auto found, root.find("pre_tokenizer"));
    const bool missing = !found || found->is_null();
    if (!missing) {
      TERN_RETURN_IF_ERROR(load_pre_tokenizer(*found, 0));
    }
    if (token_model.needs_byte_level && !byte_level_) {
      return missing ? root.refused("has no pre_tokenizer: only byte-level BPE (pre_tokenizer ByteLevel) is supported")
                     : found->refused("has no ByteLevel: only byte-level BPE is supported");
    }
    return {};
  }

  template <class Load>
  static Status each_of(const Node& sequence, std::string_view key, int depth, const Load& load) {
    if (depth >= kMaxSequenceDepth) {
      return sequence.refused("sequences are nested deeper than " + std::to_string(kMaxSequenceDepth));
    }
    TERN_ASSIGN_OR_RETURN(const Node list, sequence.need(key));
    TERN_ASSIGN_OR_RETURN(const array all, list.items());
    size_t index = 0;
    for (const element step : all) {
      if (index == 64) {
        return list.refused("has more than 64 steps");
      }
      TERN_RETURN_IF_ERROR(load(list.item(step, index++), depth + 1));
    }
    return {};
  }

  static Result<Regex> read_pattern(const Node& owner) {
    TERN_ASSIGN_OR_RETURN(const Node pattern, owner.need("pattern"));
    TERN_ASSIGN_OR_RETURN(const auto regex, pattern.find("Regex"));
    if (regex) {
      TERN_ASSIGN_OR_RETURN(const std::string_view text, regex->string());
      return Regex::compile(text, regex->where());
    }
    TERN_ASSIGN_OR_RETURN(const auto literal, pattern.find("String"));
    if (!literal) {
      return pattern.refused("has neither 'Regex' nor 'String'");
    }
    TERN_ASSIGN_OR_RETURN(const std::string_view text, literal->string());
    return Regex::compile(Regex::quoted(text), literal->where());
  }

  Status load_pre_tokenizer(const Node& step, int depth) {
    TERN_ASSIGN_OR_RETURN(const std::string_view type, step.type());
    if (type == "Sequence") {
      return each_of(step, "pretokenizers", depth,
                     [this](const Node& next, int d) { return load_pre_tokenizer(next, d); });
    }
    if (byte_level_) {
      return step.refused("a pre-tokenizer after ByteLevel is not supported");
    }
    if (type == "ByteLevel") {
      return load_byte_level(step);
    }
    if (type == "Split") {
      return load_split(step);
    }
    if (type == "Digits") {  // Rust's char::is_numeric is \p{N}
      TERN_ASSIGN_OR_RETURN(const bool individual, step.flag("individual_digits", false));
      return add_split("\\p{N}", individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous, false, step);
    }
    if (type == "Punctuation") {
      TERN_ASSIGN_OR_RETURN(const SplitBehavior behavior, read_behavior(step, true));
      return add_split("[\\p{P}!-/:-@\\[-`{-~]", behavior, false, step);
    }
    return step.refused("the pre-tokenizer " + in_quotes(type) + " is not supported");
  }

  Status add_split(std::string_view pattern, SplitBehavior behavior, bool invert, const Node& step) {
    TERN_ASSIGN_OR_RETURN(Regex regex, Regex::compile(pattern, step.where()));
    out_.pre_tokenizer.add_split(std::move(regex), behavior, invert);
    return {};
  }

  Status load_byte_level(const Node& step) {
    TERN_ASSIGN_OR_RETURN(const bool prefix_space, step.flag("add_prefix_space", true));
    TERN_ASSIGN_OR_RETURN(const bool use_regex, step.flag("use_regex", true));
    if (prefix_space) {
      out_.pre_tokenizer.add_prefix_space();
    }
    byte_level_ = true;
    return use_regex ? add_split(kGpt2Pattern, SplitBehavior::kIsolated, false, step) : Status{};
  }

  static Result<SplitBehavior> read_behavior(const Node& step, bool may_be_missing) {
    TERN_ASSIGN_OR_RETURN(const auto found, step.find("behavior"));
    if (!found && may_be_missing) {
      return SplitBehavior::kIsolated;
    }
    TERN_ASSIGN_OR_RETURN(const Node named, step.need("behavior"));
    TERN_ASSIGN_OR_RETURN(const std::string_view name, named.string());
    const auto behavior = split_behavior(name);
    return behavior ? Result<SplitBehavior>(*behavior)
                    : named.refused("the split behavior " + in_quotes(name) + " is not known");
  }

  Status load_split(const Node& step) {
    TERN_ASSIGN_OR_RETURN(Regex pattern, read_pattern(step));
    TERN_ASSIGN_OR_RETURN(const SplitBehavior behavior, read_behavior(step, false));
    TERN_ASSIGN_OR_RETURN(const bool invert, step.flag("invert", false));
    out_.pre_tokenizer.add_split(std::move(pattern), behavior, invert);
    return {};
  }

  Status load_post_processor(const Node& processor, int depth) {
    TERN_ASSIGN_OR_RETURN(const std::string_view type, processor.type());
    if (type == "Sequence") {
      return each_of(processor, "processors", depth,
                     [this](const Node& next, int d) { return load_post_processor(next, d); });
    }
    if (type == "TemplateProcessing") {
      return load_template(processor);
    }
    // ByteLevel only trims offsets, which tern does not report.
    return type == "ByteLevel" ? Status{}
                               : processor.refused("the post-processor " + in_quotes(type) + " is not supported");
  }

  Status load_template(const Node& processor) {
    TERN_ASSIGN_OR_RETURN(const Node single, processor.need("single"));
    TERN_ASSIGN_OR_RETURN(const array pieces, single.items());
    TERN_ASSIGN_OR_RETURN(const Node special_tokens, processor.need("special_tokens"));
    std::vector<int32_t> before;
    std::vector<int32_t> after;
    bool seen_text = false;
    size_t index = 0;
    for (const element value : pieces) {
      const Node piece = single.item(value, index++);
      TERN_ASSIGN_OR_RETURN(const auto sequence, piece.find("Sequence"));
      if (sequence) {
        TERN_ASSIGN_OR_RETURN(const Node id, sequence->need("id"));
        TERN_ASSIGN_OR_RETURN(const std::string_view name, id.string());
        if (name != "A" || seen_text) {
          return piece.refused("the template for one text must have the sequence A once and no other");
        }
        seen_text = true;
        continue;
      }
      TERN_ASSIGN_OR_RETURN(const Node special, piece.need("SpecialToken"));
      TERN_RETURN_IF_ERROR(append_template_ids(special, special_tokens, seen_text ? after : before));
    }
    if (!seen_text) {
      return single.refused("the template for one text lacks the sequence A");
    }
    // Processors of a Sequence wrap what the ones before them made.
    out_.prefix.insert(out_.prefix.begin(), before.begin(), before.end());
    out_.suffix.insert(out_.suffix.end(), after.begin(), after.end());
    return {};
  }

  Status append_template_ids(const Node& special, const Node& special_tokens, std::vector<int32_t>& ids) const {
    TERN_ASSIGN_OR_RETURN(const Node name_node, special.need("id"));
    TERN_ASSIGN_OR_RETURN(const std::string_view name, name_node.string());
    TERN_ASSIGN_OR_RETURN(const Node entry, special_tokens.need(name));
    TERN_ASSIGN_OR_RETURN(const Node list, entry.need("ids"));
    TERN_ASSIGN_OR_RETURN(const array all, list.items());
    size_t index = 0;
    for (const element value : all) {
      const Node item = list.item(value, index++);
      TERN_ASSIGN_OR_RETURN(const int64_t id, item.integer());
      if (id < 0 || id >= out_.vocabulary.size() || !out_.vocabulary.has(static_cast<int32_t>(id))) {
        return item.refused("token id " + std::to_string(id) + " is not in the vocabulary of " +
                            std::to_string(out_.vocabulary.size()));
      }
      ids.push_back(static_cast<int32_t>(id));
    }
    return {};
  }

  Status check_decoder(const Node& decoder, int depth) const {
    TERN_ASSIGN_OR_RETURN(const std::string_view type, decoder.type());
    if (type == "Sequence") {
      return each_of(decoder, "decoders", depth, [this](const Node& next, int d) { return check_decoder(next, d); });
    }
    const bool known = type == "ByteLevel" || type == "Fuse";
    return known ? Status{} : decoder.refused("the decoder " + in_quotes(type) + " is not supported");
  }

  Definition& out_;
  bool byte_level_ = false;
};

}  // namespace

Result<Definition> load_json(std::string_view json, const std::string& where) {
  if (json.empty()) {
    return invalid_input(where, "is empty");
  }
  simdjson::dom::parser parser;
  element document;
  const simdjson::error_code error = parser.parse(json.data(), json.size()).get(document);
  if (error != simdjson::SUCCESS) {
    return syntax_error(json, where, simdjson::error_message(error));
  }
  Definition definition;
  definition.kind = "hf-json";
  definition.where = where;
  definition.sha256 = sha256_hex(std::as_bytes(std::span(json.data(), json.size())));
  TERN_RETURN_IF_ERROR(JsonLoader(definition).load(Node(where, document, "")));
  return definition;
}

}  // namespace tern::tokenizer
