#include "tern/tokenizer/text/unicode.h"

#include <array>

namespace tern::tokenizer {
namespace {

constexpr uint16_t kAlphabetEnd = 0x144;  // one past the last character of the byte alphabet

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

constexpr std::array<uint16_t, 256> make_character_of_byte() {
  std::array<uint16_t, 256> table{};
  uint16_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    table[byte] = stands_for_itself(byte) ? static_cast<uint16_t>(byte) : next++;
  }
  return table;
}
constexpr std::array<uint16_t, 256> kCharacterOfByte = make_character_of_byte();

constexpr std::array<int16_t, kAlphabetEnd> make_byte_of_character() {
  std::array<int16_t, kAlphabetEnd> table{};
  for (auto& byte : table) {
    byte = -1;
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    table[kCharacterOfByte[byte]] = static_cast<int16_t>(byte);
  }
  return table;
}
constexpr std::array<int16_t, kAlphabetEnd> kByteOfCharacter = make_byte_of_character();

uint8_t byte_at(std::string_view text, size_t offset) { return static_cast<uint8_t>(text[offset]); }

size_t length_by_lead(uint8_t lead) { return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4; }

// Length of the well-formed sequence at `offset`, 0 where there is none (table 3-7 of the Unicode standard).
size_t well_formed_length(std::string_view text, size_t offset) {
  const uint8_t lead = byte_at(text, offset);
  if (lead < 0x80) {
    return 1;
  }
  if (lead < 0xC2 || lead > 0xF4) {
    return 0;
  }
  const size_t length = length_by_lead(lead);
  if (text.size() - offset < length) {
    return 0;
  }
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  const uint8_t second = byte_at(text, offset + 1);
  if (second < low || second > high) {
    return 0;
  }
  for (size_t i = 2; i < length; ++i) {
    if ((byte_at(text, offset + i) & 0xC0) != 0x80) {
      return 0;
    }
  }
  return length;
}

}  // namespace

std::optional<size_t> first_invalid_utf8(std::string_view text) {
  for (size_t offset = 0; offset < text.size();) {
    const size_t length = well_formed_length(text, offset);
    if (length == 0) {
      return offset;
    }
    offset += length;
  }
  return std::nullopt;
}

Character character_at(std::string_view text, size_t offset) {
  const uint8_t lead = byte_at(text, offset);
  const size_t length = length_by_lead(lead);
  if (length == 1) {
    return {lead, 1};
  }
  char32_t code_point = lead & (0xFFu >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    code_point = (code_point << 6) | (byte_at(text, offset + i) & 0x3Fu);
  }
  return {code_point, length};
}

Character character_before(std::string_view text, size_t offset) {
  size_t start = offset - 1;
  while (start > 0 && (byte_at(text, start) & 0xC0) == 0x80) {
    --start;
  }
  return character_at(text, start);
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

void append_spelling_of_bytes(std::string_view bytes, std::string& spelling) {
  for (const char byte : bytes) {
    const unsigned character = kCharacterOfByte[static_cast<uint8_t>(byte)];
    if (character < 0x80) {
      spelling.push_back(static_cast<char>(character));
    } else {
      spelling.push_back(static_cast<char>(0xC0 | (character >> 6)));
      spelling.push_back(static_cast<char>(0x80 | (character & 0x3F)));
    }
  }
}

bool append_bytes_of_spelling(std::string_view spelling, std::string& bytes) {
  const size_t size_before = bytes.size();
  for (size_t offset = 0; offset < spelling.size();) {
    const size_t length = well_formed_length(spelling, offset);
    const char32_t character = length == 0 ? char32_t{kAlphabetEnd} : character_at(spelling, offset).code_point;
    if (character >= kAlphabetEnd || kByteOfCharacter[character] < 0) {
      bytes.resize(size_before);
      return false;
    }
    bytes.push_back(static_cast<char>(kByteOfCharacter[character]));
    offset += length;
  }
  return true;
}

}  // namespace tern::tokenizer
