#include "tern/tokenizer/text/added_tokens.h"

#include <algorithm>

#include "tern/tokenizer/text/unicode.h"

namespace tern::tokenizer {
namespace {

auto child_of(const std::vector<std::pair<uint8_t, uint32_t>>& children, uint8_t byte) {
  return std::lower_bound(children.begin(), children.end(), byte,
                          [](const auto& child, uint8_t wanted) { return child.first < wanted; });
}

}  // namespace

void AddedTokens::Trie::insert(std::string_view content, int32_t token) {
  uint32_t node = 0;
  for (const char c : content) {
    const auto byte = static_cast<uint8_t>(c);
    const auto child = child_of(nodes[node].children, byte);
    if (child != nodes[node].children.end() && child->first == byte) {
      node = child->second;
      continue;
    }
    const auto added = static_cast<uint32_t>(nodes.size());
    nodes[node].children.insert(child, {byte, added});
    nodes.emplace_back();
    if (node == 0) {
      first_byte[byte] = added;
    }
    node = added;
  }
  if (nodes[node].token < 0) {
    nodes[node].token = token;
  }
}

std::optional<std::pair<int32_t, size_t>> AddedTokens::Trie::longest_at(std::string_view text, size_t offset) const {
  std::optional<std::pair<int32_t, size_t>> longest;
  uint32_t node = first_byte[static_cast<uint8_t>(text[offset])];
  for (size_t end = offset + 1; node != 0; ++end) {
    if (nodes[node].token >= 0) {
      longest = {nodes[node].token, end};
    }
    if (end == text.size()) {
      break;
    }
    const auto byte = static_cast<uint8_t>(text[end]);
    const auto child = child_of(nodes[node].children, byte);
    node = child != nodes[node].children.end() && child->first == byte ? child->second : 0;
  }
  return longest;
}

Result<AddedTokens> AddedTokens::create(std::vector<AddedToken> tokens, const Normalizer& normalizer) {
  AddedTokens added;
  added.tokens_ = std::move(tokens);
  for (size_t i = 0; i < added.tokens_.size(); ++i) {
    const AddedToken& token = added.tokens_[i];
    if (!token.normalized) {
      added.raw_.insert(token.content, static_cast<int32_t>(i));
      continue;
    }
    TERN_ASSIGN_OR_RETURN(const std::string normalized, normalizer.apply(token.content));
    if (!normalized.empty()) {
      added.normalized_.insert(normalized, static_cast<int32_t>(i));
    }
  }
  const auto single_word = [](const AddedToken& token) { return token.single_word; };
  if (std::any_of(added.tokens_.begin(), added.tokens_.end(), single_word)) {
    // \w of Rust's regex, with which the Hugging Face library looks around such tokens.
    TERN_ASSIGN_OR_RETURN(added.word_character_,
                          Regex::compile("[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]", "added tokens"));
  }
  return added;
}

Result<bool> AddedTokens::stands_alone(std::string_view text, size_t begin, size_t end) const {
  std::vector<Match> matches;
  if (begin > 0) {
    const size_t n_bytes = character_before(text, begin).n_bytes;
    TERN_RETURN_IF_ERROR(word_character_->find_all(text.substr(begin - n_bytes, n_bytes), matches));
    if (!matches.empty()) {
      return false;
    }
  }
  if (end < text.size()) {
    TERN_RETURN_IF_ERROR(word_character_->find_all(text.substr(end, character_at(text, end).n_bytes), matches));
  }
  return matches.empty();
}

// AddedVocabulary::find_matches in the Hugging Face tokenizers library.
Result<std::vector<Segment>> AddedTokens::split(const Trie& trie, std::string_view text) const {
  std::vector<Segment> segments;
  size_t covered = 0;
  for (size_t offset = 0; offset < text.size();) {
    const auto found = trie.longest_at(text, offset);
    if (!found) {
      ++offset;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(found->first)];
    size_t begin = offset;
    size_t end = found->second;
    offset = end;
    if (token.single_word) {
      TERN_ASSIGN_OR_RETURN(const bool alone, stands_alone(text, begin, end));
      if (!alone) {
        continue;
      }
    }
    while (token.lstrip && begin > covered && is_white_space(character_before(text, begin).code_point)) {
      begin -= character_before(text, begin).n_bytes;
    }
    while (token.rstrip && end < text.size() && is_white_space(character_at(text, end).code_point)) {
      end += character_at(text, end).n_bytes;
    }
    begin = std::max(begin, covered);
    if (covered < begin) {
      segments.push_back({text.substr(covered, begin - covered), std::nullopt});
    }
    segments.push_back({{}, token.id});
    covered = end;
  }
  if (covered < text.size()) {
    segments.push_back({text.substr(covered), std::nullopt});
  }
  return segments;
}

}  // namespace tern::tokenizer
