#include "tern/tokenizer/vocabulary.h"

#include <bit>
#include <functional>

#include "tern/base/check.h"
#include "tern/tokenizer/text/unicode.h"

namespace tern::tokenizer {

void Vocabulary::reserve(size_t n_tokens, size_t n_bytes) {
  entries_.reserve(n_tokens);
  spellings_.reserve(n_bytes);
  grow_slots(n_tokens);
}

std::string_view Vocabulary::spelling(int32_t id) const {
  TERN_CHECK(id >= 0 && id < size());
  const Entry& entry = entries_[static_cast<size_t>(id)];
  return std::string_view(spellings_).substr(entry.offset, entry.length);
}

// The slot that holds `spelling`, or the free one where it would go.
size_t Vocabulary::slot_of(std::string_view wanted) const {
  const size_t mask = slots_.size() - 1;
  const size_t hash = std::hash<std::string_view>{}(wanted);
  for (size_t slot = hash & mask;; slot = (slot + 1) & mask) {
    const Slot& candidate = slots_[slot];
    if (candidate.id < 0 || (candidate.hash == static_cast<uint32_t>(hash) && spelling(candidate.id) == wanted)) {
      return slot;
    }
  }
}

void Vocabulary::grow_slots(size_t n_tokens) {
  const size_t wanted = std::bit_ceil(2 * n_tokens + 16);
  if (wanted <= slots_.size()) {
    return;
  }
  slots_.assign(wanted, Slot{});
  for (int32_t id = 0; id < size(); ++id) {
    if (has(id)) {
      put(spelling(id), id);
    }
  }
}

void Vocabulary::put(std::string_view spelled, int32_t id) {
  slots_[slot_of(spelled)] = {id, static_cast<uint32_t>(std::hash<std::string_view>{}(spelled))};
}

std::string Vocabulary::try_add(int64_t id, std::string_view spelling, uint8_t flags) {
  if (id < 0 || id >= kMaxIds) {
    return "token id " + std::to_string(id) + " is outside of 0.." + std::to_string(kMaxIds - 1);
  }
  if (spelling.empty() || spelling.size() > kMaxSpellingBytes) {
    return "the spelling of token " + std::to_string(id) + " has " + std::to_string(spelling.size()) +
           " bytes, not 1.." + std::to_string(kMaxSpellingBytes);
  }
  const auto index = static_cast<size_t>(id);
  if (index < entries_.size() && entries_[index].length != 0) {
    return "token id " + std::to_string(id) + " is given twice, to '" +
           printable(this->spelling(static_cast<int32_t>(id)), 60) + "' and to '" + printable(spelling, 60) + "'";
  }
  if (2 * (n_tokens_ + 1) > slots_.size()) {
    grow_slots(2 * (n_tokens_ + 1));
  }
  if (const auto taken = find(spelling)) {
    return "the token '" + printable(spelling, 60) + "' is given twice, as id " + std::to_string(*taken) +
           " and as id " + std::to_string(id);
  }
  if (index >= entries_.size()) {
    entries_.resize(index + 1);
  }
  entries_[index] = {spellings_.size(), static_cast<uint16_t>(spelling.size()), flags};
  spellings_.append(spelling);
  put(spelling, static_cast<int32_t>(id));
  ++n_tokens_;
  return {};
}

std::optional<int32_t> Vocabulary::find(std::string_view spelling) const {
  if (slots_.empty()) {
    return std::nullopt;
  }
  const int32_t id = slots_[slot_of(spelling)].id;
  return id < 0 ? std::nullopt : std::optional(id);
}

std::optional<int32_t> Vocabulary::find_model(std::string_view spelling) const {
  const auto id = find(spelling);
  return id && (flags(*id) & kModel) != 0 ? id : std::nullopt;
}

}  // namespace tern::tokenizer
