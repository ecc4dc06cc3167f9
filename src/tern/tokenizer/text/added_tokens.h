// Tokens that are looked for in the text itself, before anything splits it: special ones and those a user added.
// Internal to tokenizer/.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tern/base/error.h"
#include "tern/tokenizer/text/normalizer.h"
#include "tern/tokenizer/text/regex.h"

namespace tern::tokenizer {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool single_word = false;  // only where no word character stands on either side
  bool lstrip = false;       // swallows white space on its left
  bool rstrip = false;
  bool normalized = false;  // looked for in normalized form, in the normalized text
  bool special = false;     // left out of decoded text
};

// A stretch of text, or a token that was found in it.
struct Segment {
  std::string_view text;
  std::optional<int32_t> id;
};

class AddedTokens {
 public:
  static constexpr size_t kMaxContentBytes = 1024;

  // `tokens`: contents not empty, at most kMaxContentBytes. Errors: kInvalidInput when a content cannot be normalized.
  static Result<AddedTokens> create(std::vector<AddedToken> tokens, const Normalizer& normalizer);

  // Cuts `text` (valid UTF-8) at the tokens that are matched as they are written / in normalized text. Leftmost match
  // first, the longest of those. No segment without id is empty.
  Result<std::vector<Segment>> split_raw(std::string_view text) const { return split(raw_, text); }
  Result<std::vector<Segment>> split_normalized(std::string_view text) const { return split(normalized_, text); }
  std::span<const AddedToken> tokens() const { return tokens_; }

 private:
  struct Trie {
    struct Node {
      std::vector<std::pair<uint8_t, uint32_t>> children;  // sorted by byte
      int32_t token = -1;                                  // index into tokens_
    };
    std::vector<Node> nodes = std::vector<Node>(1);
    std::array<uint32_t, 256> first_byte{};  // node of depth 1; 0: none
    void insert(std::string_view content, int32_t token);
    // The longest token that `text` has at `offset`: its index and its end.
    std::optional<std::pair<int32_t, size_t>> longest_at(std::string_view text, size_t offset) const;
  };

  Result<std::vector<Segment>> split(const Trie& trie, std::string_view text) const;
  Result<bool> stands_alone(std::string_view text, size_t begin, size_t end) const;

  std::vector<AddedToken> tokens_;
  Trie raw_;
  Trie normalized_;
  std::optional<Regex> word_character_;  // only where a token has single_word
};

}  // namespace tern::tokenizer
