// Text <-> token ids, read from a Hugging Face tokenizer.json or from a GGUF file's own vocabulary. token_models.h
// lists what either may hold.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/gguf/view.h"

namespace tern::tokenizer {

struct Definition;

class Tokenizer {
 public:
  // A tokenizer.json, or a GGUF: the file's first bytes decide. Errors: kIo, kInvalidInput.
  static Result<Tokenizer> open(const std::filesystem::path& path);
  static Result<Tokenizer> from_json(std::string_view json, const std::string& where);
  static Result<Tokenizer> from_gguf(const gguf::View& view);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Token ids of `text`. With `add_special`, the post-processor's template is applied (BOS in front). Added and special
  // tokens that stand in the text are recognised either way, as the Hugging Face library does.
  // Errors: kInvalidInput for text that is not UTF-8, with the byte offset.
  Result<std::vector<int32_t>> encode(std::string_view text, bool add_special) const;

  // A stretch of text within which tokens are joined, or a special or added token, and the ids that it becomes.
  struct Piece {
    std::string text;
    std::vector<int32_t> ids;
    bool is_token = false;
    bool operator==(const Piece&) const = default;
  };
  // What encode() makes its ids from. Errors: those of encode().
  Result<std::vector<Piece>> pieces(std::string_view text) const;
  // What encode() puts behind a text: EOS, where the file requires it.
  std::span<const int32_t> suffix() const;

  // Bytes of the tokens joined; special tokens are left out unless asked for. The result need not be valid UTF-8 when a
  // character is split over tokens that are not all there. Ids outside of the vocabulary are an error.
  Result<std::string> decode(std::span<const int32_t> ids, bool with_special = false) const;

  // One more than the largest id (holes count).
  int32_t vocab_size() const;
  std::optional<int32_t> bos() const;           // what encode() puts in front
  std::optional<int32_t> declared_bos() const;  // GGUF: its bos_token_id, whether encode() puts it in front or not
  // Ids that end a text: <|end_of_text|>, <|eot_id|> and the like; from GGUF, its eos and eot keys.
  std::span<const int32_t> end_of_text() const;
  bool is_special(int32_t id) const;
  std::optional<std::string_view> token(int32_t id) const;  // by the vocabulary's own spelling
  // One sentence each, with the place: what was read, but may give other ids than the user expects (a GGUF without
  // tokenizer.ggml.pre, for instance).
  std::span<const std::string> warnings() const;
  std::string_view kind() const;  // "hf-json" or "gguf"
  // GGUF with byte-level BPE: its tokenizer.ggml.pre, empty where it is missing. Absent: no such key decides.
  const std::optional<std::string>& pre_tokenizer_name() const;
  const std::string& where() const;   // the file, as given
  const std::string& sha256() const;  // of the tokenizer.json; for a GGUF, of a canonical listing of its vocabulary

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  static Tokenizer from_definition(Definition definition);
  std::unique_ptr<Impl> impl_;
};

// What a user must be told before anything runs: vocabulary size, spelling of each shared id, BOS, EOS, and whether a
// fixed set of texts becomes the same ids. An empty list is agreement. Each entry is one sentence with the figures.
std::vector<std::string> disagreements(const Tokenizer& json, const Tokenizer& gguf);

}  // namespace tern::tokenizer
