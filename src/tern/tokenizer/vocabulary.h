// The tokens of a tokenizer by id and by spelling. Internal to tokenizer/.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"

namespace tern::tokenizer {

class Vocabulary {
 public:
  // Larger ids than any real vocabulary has would make a small hostile file cost gigabytes.
  static constexpr int64_t kMaxIds = int64_t{1} << 22;
  static constexpr size_t kMaxSpellingBytes = 0xFFFF;

  enum Flag : uint8_t {
    kModel = 1,    // a token of the model itself, not only an added one
    kAdded = 2,    // its spelling is its text, not the byte alphabet's
    kSpecial = 4,  // left out of decoded text
  };

  void reserve(size_t n_tokens, size_t n_bytes);
  // Errors (kInvalidInput at `where`): the id is out of range, id or spelling are taken, the spelling is empty or too
  // long. `where` is called only then.
  template <class Where>
  Status add(int64_t id, std::string_view spelling, uint8_t flags, const Where& where) {
    std::string cause = try_add(id, spelling, flags);
    return cause.empty() ? Status{} : invalid_input(where(), std::move(cause));
  }
  void set_flags(int32_t id, uint8_t flags) { entries_[static_cast<size_t>(id)].flags |= flags; }

  int32_t size() const { return static_cast<int32_t>(entries_.size()); }  // one more than the largest id
  bool has(int32_t id) const { return id >= 0 && id < size() && entries_[static_cast<size_t>(id)].length != 0; }
  uint8_t flags(int32_t id) const { return entries_[static_cast<size_t>(id)].flags; }  // id in [0, size)
  std::string_view spelling(int32_t id) const;                                         // empty for holes
  std::optional<int32_t> find(std::string_view spelling) const;
  std::optional<int32_t> find_model(std::string_view spelling) const;

 private:
  struct Entry {
    size_t offset = 0;
    uint16_t length = 0;  // 0: a hole
    uint8_t flags = 0;
  };
  std::string try_add(int64_t id, std::string_view spelling, uint8_t flags);
  struct Slot {
    int32_t id = -1;  // -1: free
    uint32_t hash = 0;
  };
  size_t slot_of(std::string_view spelling) const;
  void grow_slots(size_t n_tokens);
  void put(std::string_view spelling, int32_t id);

  std::string spellings_;
  std::vector<Entry> entries_;
  std::vector<Slot> slots_;  // open addressing
  size_t n_tokens_ = 0;
};

}  // namespace tern::tokenizer
