#include "tern/tokenizer/bpe.h"

#include <algorithm>
#include <bit>

#include "tern/tokenizer/text/unicode.h"

namespace tern::tokenizer {
namespace {

uint64_t key_of(int32_t left, int32_t right) {
  return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
}

uint64_t mixed(uint64_t key) {  // splitmix64's finalizer
  key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9u;
  key = (key ^ (key >> 27)) * 0x94D049BB133111EBu;
  return key ^ (key >> 31);
}

}  // namespace

void MergeTable::reserve(size_t n_merges) {
  const size_t wanted = std::bit_ceil(n_merges + n_merges / 3 + 16);
  if (wanted <= slots_.size()) {
    return;
  }
  std::vector<Slot> old(wanted);
  old.swap(slots_);
  for (const Slot& slot : old) {
    if (slot.key != UINT64_MAX) {
      slots_[slot_of(slot.key)] = slot;
    }
  }
}

size_t MergeTable::slot_of(uint64_t key) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = mixed(key) & mask;
  while (slots_[slot].key != UINT64_MAX && slots_[slot].key != key) {
    slot = (slot + 1) & mask;
  }
  return slot;
}

bool MergeTable::add(int32_t left, int32_t right, Merge merge) {
  if (n_merges_ + n_merges_ / 3 + 16 > slots_.size()) {
    reserve(2 * (n_merges_ + 1));
  }
  const uint64_t key = key_of(left, right);
  Slot& slot = slots_[slot_of(key)];
  if (slot.key == key) {
    return false;
  }
  slot = {key, merge};
  ++n_merges_;
  return true;
}

const MergeTable::Merge* MergeTable::find(int32_t left, int32_t right) const {
  if (slots_.empty()) {
    return nullptr;
  }
  const uint64_t key = key_of(left, right);
  const Slot& slot = slots_[slot_of(key)];
  return slot.key == key ? &slot.merge : nullptr;
}

Bpe::MergeOutcome Bpe::add_merge(const Vocabulary& vocabulary, uint32_t rank, std::string_view left,
                                 std::string_view right) {
  const auto left_id = vocabulary.find_model(left);
  const auto right_id = vocabulary.find_model(right);
  if (!left_id || !right_id) {
    return MergeOutcome::kUnusable;
  }
  joined_.assign(left).append(right);
  const auto joined_id = vocabulary.find_model(joined_);
  if (!joined_id) {
    return MergeOutcome::kNoJoinedToken;
  }
  return merges_.add(*left_id, *right_id, {rank, *joined_id}) ? MergeOutcome::kAdded : MergeOutcome::kListedTwice;
}

void Bpe::set_byte_tokens(const Vocabulary& vocabulary) {
  byte_tokens_.assign(256, -1);
  for (size_t byte = 0; byte < 256; ++byte) {
    std::string spelled;
    append_spelling_of_bytes(std::string(1, static_cast<char>(byte)), spelled);
    byte_tokens_[byte] = vocabulary.find_model(spelled).value_or(-1);
  }
}

bool Bpe::covers_all_bytes() const {
  return byte_tokens_.size() == 256 && std::find(byte_tokens_.begin(), byte_tokens_.end(), -1) == byte_tokens_.end();
}

namespace {

struct Symbol {
  int32_t id;
  int32_t previous;  // -1: none
  int32_t next;      // -1: none
  bool dead;         // joined into the symbol on its left
};

// The lowest rank goes first, among equals the leftmost.
struct Candidate {
  uint32_t rank;
  int32_t position;
  int32_t joined;
  bool operator<(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

class Merger {
 public:
  Merger(const MergeTable& merges, std::vector<Symbol>& symbols) : merges_(merges), symbols_(symbols) {}

  void run() {
    for (size_t i = 0; i + 1 < symbols_.size(); ++i) {
      consider(static_cast<int32_t>(i));
    }
    std::make_heap(queue_.begin(), queue_.end());
    initial_ = false;
    while (!queue_.empty()) {
      std::pop_heap(queue_.begin(), queue_.end());
      const Candidate best = queue_.back();
      queue_.pop_back();
      if (still_holds(best)) {
        join(best);
      }
    }
  }

 private:
  Symbol& at(int32_t position) { return symbols_[static_cast<size_t>(position)]; }

  void consider(int32_t position) {
    const Symbol& left = at(position);
    if (left.next < 0) {
      return;
    }
    if (const auto* merge = merges_.find(left.id, at(left.next).id)) {
      queue_.push_back({merge->rank, position, merge->joined});
      if (!initial_) {
        std::push_heap(queue_.begin(), queue_.end());
      }
    }
  }

  // A candidate also holds when other symbols meanwhile stand there that join into the same token. That is what both
  // Word::merge_all (Hugging Face tokenizers) and llm_tokenizer_bpe (llama.cpp) do.
  bool still_holds(const Candidate& candidate) {
    const Symbol& left = at(candidate.position);
    if (left.dead || left.next < 0) {
      return false;
    }
    const auto* merge = merges_.find(left.id, at(left.next).id);
    return merge != nullptr && merge->joined == candidate.joined;
  }

  void join(const Candidate& candidate) {
    Symbol& left = at(candidate.position);
    Symbol& right = at(left.next);
    left.id = candidate.joined;
    left.next = right.next;
    right.dead = true;
    if (left.next >= 0) {
      at(left.next).previous = candidate.position;
    }
    if (left.previous >= 0) {
      consider(left.previous);
    }
    consider(candidate.position);
  }

  const MergeTable& merges_;
  std::vector<Symbol>& symbols_;
  std::vector<Candidate> queue_;
  bool initial_ = true;
};

}  // namespace

Status Bpe::encode(const Vocabulary& vocabulary, std::string_view piece, std::vector<int32_t>& ids) const {
  if (ignore_merges_ && piece.size() <= Vocabulary::kMaxSpellingBytes) {
    std::string spelled;
    append_spelling_of_bytes(piece, spelled);
    if (const auto id = vocabulary.find_model(spelled)) {
      ids.push_back(*id);
      return {};
    }
  }
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  for (size_t i = 0; i < piece.size(); ++i) {
    const auto byte = static_cast<uint8_t>(piece[i]);
    if (byte_tokens_[byte] < 0) {
      return invalid_input("text", "the vocabulary has no token for byte " + std::to_string(byte) + " of '" +
                                       printable(piece, 60) + "'");
    }
    const auto position = static_cast<int32_t>(i);
    symbols.push_back({byte_tokens_[byte], position - 1, i + 1 < piece.size() ? position + 1 : -1, false});
  }
  Merger(merges_, symbols).run();
  for (const Symbol& symbol : symbols) {
    if (!symbol.dead) {
      ids.push_back(symbol.id);
    }
  }
  return {};
}

void Bpe::append_text(const Vocabulary& vocabulary, int32_t id, std::string& text) const {
  const std::string_view spelled = vocabulary.spelling(id);
  if ((vocabulary.flags(id) & Vocabulary::kAdded) != 0 || !append_bytes_of_spelling(spelled, text)) {
    text.append(spelled);
  }
}

}  // namespace tern::tokenizer
