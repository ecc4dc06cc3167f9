// Byte pair encoding: joins the bytes of one piece into tokens by a ranked list of merges. Internal to tokenizer/.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/tokenizer/token_model.h"
#include "tern/tokenizer/vocabulary.h"

namespace tern::tokenizer {

// (left id, right id) -> rank and the id of the joined token.
class MergeTable {
 public:
  struct Merge {
    uint32_t rank = 0;
    int32_t joined = -1;
  };
  void reserve(size_t n_merges);
  // False when the pair is there already.
  bool add(int32_t left, int32_t right, Merge merge);
  const Merge* find(int32_t left, int32_t right) const;
  size_t size() const { return n_merges_; }

 private:
  struct Slot {
    uint64_t key = UINT64_MAX;
    Merge merge;
  };
  size_t slot_of(uint64_t key) const;

  std::vector<Slot> slots_;
  size_t n_merges_ = 0;
};

class Bpe final : public TokenModel {
 public:
  enum class MergeOutcome { kAdded, kUnusable, kNoJoinedToken, kListedTwice };
  // Merge number `rank`: `left` and `right` as spelled in the vocabulary. kUnusable: the vocabulary lacks one of the
  // two, so that the merge can never apply (Hugging Face refuses such a file, llama.cpp accepts it; it is skipped
  // here). kNoJoinedToken: it could apply, to something that is no token.
  MergeOutcome add_merge(const Vocabulary& vocabulary, uint32_t rank, std::string_view left, std::string_view right);
  void reserve(size_t n_merges) { merges_.reserve(n_merges); }
  // Finds the tokens that stand for single bytes, in the alphabet of byte-level BPE. To be called once `vocabulary`
  // is complete.
  void set_byte_tokens(const Vocabulary& vocabulary);
  bool covers_all_bytes() const;
  // A piece that is a token as a whole becomes that token, whatever the merges say (tokenizer.json's ignore_merges).
  void set_ignore_merges(bool ignore) { ignore_merges_ = ignore; }

  // Takes any bytes. O(n log n). Errors: kInvalidInput for a byte that the vocabulary has no token for.
  Status encode(const Vocabulary& vocabulary, std::string_view piece, std::vector<int32_t>& ids) const override;
  void append_text(const Vocabulary& vocabulary, int32_t id, std::string& text) const override;

 private:
  MergeTable merges_;
  std::vector<int32_t> byte_tokens_;  // by byte value; -1 where there is none
  bool ignore_merges_ = false;
  std::string joined_;  // scratch of add_merge
};

}  // namespace tern::tokenizer
