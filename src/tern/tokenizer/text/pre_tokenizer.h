// Cuts text into the pieces within which BPE may merge. Internal to tokenizer/.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tern/base/error.h"
#include "tern/tokenizer/text/regex.h"

namespace tern::tokenizer {

// What becomes of the matches of a pattern; the names are those of tokenizer.json.
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };
std::optional<SplitBehavior> split_behavior(std::string_view name);

// Pieces of a text, in order; they point into the text or into `storage`.
struct Pieces {
  std::vector<std::string_view> views;
  std::deque<std::string> storage;
};

class PreTokenizer {
 public:
  // Each step works on every piece that the steps before it left, and reads nothing beyond that piece.
  void add_split(Regex pattern, SplitBehavior behavior, bool invert) {
    steps_.push_back(Split{std::move(pattern), behavior, invert});
  }
  // A space in front of each piece that does not begin with one.
  void add_prefix_space() { steps_.push_back(PrefixSpace{}); }

  // `text`: valid UTF-8, not empty; must outlive the pieces. No piece is empty. Errors: kInvalidInput when a pattern
  // exceeds its limits.
  Result<Pieces> split(std::string_view text) const;

 private:
  struct Split {
    Regex pattern;
    SplitBehavior behavior;
    bool invert;
  };
  struct PrefixSpace {};
  std::vector<std::variant<Split, PrefixSpace>> steps_;
};

}  // namespace tern::tokenizer
