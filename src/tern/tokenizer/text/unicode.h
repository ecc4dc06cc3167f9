// The few Unicode facts that tokenizers need: UTF-8 checking, the White_Space property, and the byte alphabet of
// byte-level BPE. Internal to tokenizer/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tern::tokenizer {

// Offset of the first byte that is not part of well-formed UTF-8 (surrogates and overlong forms included); nullopt when
// all of `text` is.
std::optional<size_t> first_invalid_utf8(std::string_view text);

struct Character {
  char32_t code_point = 0;
  size_t n_bytes = 0;
};
// The character that starts at `offset` of valid UTF-8; `offset` < text.size().
Character character_at(std::string_view text, size_t offset);
// The character that ends just before `offset`; 0 < `offset` <= text.size().
Character character_before(std::string_view text, size_t offset);

// The property White_Space (Unicode, PropList.txt). PCRE2's \s adds U+180E to it, which lost the property in 6.3.
bool is_white_space(char32_t code_point);

// Byte-level BPE spells each byte as one printable character: bytes that are printable in Latin-1 stand for themselves,
// the others for U+0100, U+0101, ... in order (GPT-2's encoder.py, bytes_to_unicode).
void append_spelling_of_bytes(std::string_view bytes, std::string& spelling);
// The reverse. False, with `bytes` as it was, when `spelling` has a character outside of that alphabet.
bool append_bytes_of_spelling(std::string_view spelling, std::string& bytes);

}  // namespace tern::tokenizer
