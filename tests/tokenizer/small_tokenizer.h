// A small byte-level BPE in both forms, for tests to change one thing at a time.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tern/base/json.h"
#include "tern/gguf/view.h"
#include "tern/gguf/writer.h"
#include "tern/tokenizer/text/unicode.h"
#include "tern/tokenizer/tokenizer.h"

namespace tern::tokenizer::test {

inline constexpr const char* kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Byte b is token b; then the joined tokens; then <|begin_of_text|>, <|end_of_text|>.
inline const std::vector<std::pair<std::string, std::string>>& small_merges() {
  static const std::vector<std::pair<std::string, std::string>> merges = {
      {"h", "e"}, {"l", "l"}, {"he", "ll"}, {"hell", "o"}, {"Ġ", "w"}, {"1", "2"}, {"12", "3"}};
  return merges;
}
inline constexpr int32_t kHe = 256, kLl = 257, kHell = 258, kHello = 259, kSpaceW = 260, k12 = 261, k123 = 262,
                         kBos = 263, kEos = 264;

inline std::vector<std::string> small_vocabulary() {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) {
    append_spelling_of_bytes(std::string(1, static_cast<char>(byte)), tokens.emplace_back());
  }
  for (const auto& [left, right] : small_merges()) {
    tokens.push_back(left + right);
  }
  return tokens;
}

inline Json added_token(const std::string& content, int32_t id, bool special) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

inline Json byte_level(bool add_prefix_space, bool use_regex) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

inline Json split(const std::string& regex, const std::string& behavior = "Isolated", bool invert = false) {
  return {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", behavior}, {"invert", invert}};
}

inline Json sequence(const char* key, std::vector<Json> steps) {
  return {{"type", "Sequence"}, {key, std::move(steps)}};
}

inline Json template_with_bos() {
  const Json single = Json::array({{{"SpecialToken", {{"id", "<|begin_of_text|>"}, {"type_id", 0}}}},
                                   {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}});
  const Json token = {{"id", "<|begin_of_text|>"}, {"ids", {kBos}}, {"tokens", {"<|begin_of_text|>"}}};
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"pair", Json::array()},
          {"special_tokens", {{"<|begin_of_text|>", token}}}};
}

inline Json small_json() {
  Json vocab = Json::object();
  int32_t id = 0;
  for (const std::string& token : small_vocabulary()) {
    vocab[token] = id++;
  }
  Json merges = Json::array();
  for (const auto& [left, right] : small_merges()) {
    merges.push_back(left + " " + right);
  }
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", {added_token("<|begin_of_text|>", kBos, true), added_token("<|end_of_text|>", kEos, true)}},
          {"normalizer", nullptr},
          {"pre_tokenizer", sequence("pretokenizers", {split(kLlama3Pattern), byte_level(false, false)})},
          {"post_processor", template_with_bos()},
          {"decoder", byte_level(true, true)},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", true},
            {"vocab", vocab},
            {"merges", merges}}}};
}

inline Result<Tokenizer> load(const Json& json) { return Tokenizer::from_json(json.dump(), "tokenizer.json"); }

inline Tokenizer must_load(const Json& json) {
  auto tokenizer = load(json);
  if (!tokenizer) {
    ADD_FAILURE() << tokenizer.error().line();
    std::abort();
  }
  return std::move(*tokenizer);
}

// The same vocabulary as GGUF metadata.
inline gguf::Header small_gguf() {
  std::vector<std::string> tokens = small_vocabulary();
  std::vector<int32_t> types(tokens.size(), 1);
  for (const char* special : {"<|begin_of_text|>", "<|end_of_text|>"}) {
    tokens.emplace_back(special);
    types.push_back(3);
  }
  std::vector<std::string> merges;
  for (const auto& [left, right] : small_merges()) {
    merges.push_back(left + " " + right);
  }
  gguf::Header header;
  header.add("general.architecture", std::string("llama"));
  header.add("tokenizer.ggml.model", std::string("gpt2"));
  header.add("tokenizer.ggml.pre", std::string("llama-bpe"));
  header.add("tokenizer.ggml.tokens", tokens);
  header.add("tokenizer.ggml.token_type", types);
  header.add("tokenizer.ggml.merges", merges);
  header.add("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(kBos));
  header.add("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(kEos));
  return header;
}

inline void set(gguf::Header& header, const std::string& key, gguf::TypedValue value) {
  for (auto& [name, old] : header.metadata) {
    if (name == key) {
      old = std::move(value);
      return;
    }
  }
  header.add(key, std::move(value));
}
inline void erase(gguf::Header& header, const std::string& key) {
  std::erase_if(header.metadata, [&](const auto& entry) { return entry.first == key; });
}

inline Result<Tokenizer> load(const gguf::Header& header) {
  const std::string bytes = gguf::encode_header(header);
  TERN_ASSIGN_OR_RETURN(const auto view, gguf::View::parse(std::as_bytes(std::span(bytes)), "model.gguf"));
  return Tokenizer::from_gguf(view);
}

inline std::vector<int32_t> ids_of(const Tokenizer& tokenizer, const std::string& text, bool add_special = false) {
  auto ids = tokenizer.encode(text, add_special);
  if (!ids) {
    ADD_FAILURE() << ids.error().line();
    return {};
  }
  return *ids;
}

}  // namespace tern::tokenizer::test
