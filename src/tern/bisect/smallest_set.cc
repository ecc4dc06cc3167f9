#include "tern/bisect/smallest_set.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <numeric>
#include <optional>

namespace tern::bisect {
namespace {

using Changes = std::vector<size_t>;

class Search {
 public:
  explicit Search(const TestChanges& test) : test_(test) {}

  Result<bool> is_bad(const Changes& changes) {
    if (const auto known = known_.find(changes); known != known_.end()) {
      return known->second;
    }
    TERN_ASSIGN_OR_RETURN(const Outcome outcome, test_(changes));
    return known_[changes] = outcome == Outcome::kBad;
  }

  // One of the pieces of `changes`, or all but one of them, that is bad; nullopt where none is.
  Result<std::optional<Changes>> smaller(const Changes& changes, size_t n_pieces) {
    for (const bool is_rest : {false, true}) {
      for (size_t i = 0; i < n_pieces; ++i) {
        const auto begin = changes.begin() + static_cast<std::ptrdiff_t>(i * changes.size() / n_pieces);
        const auto end = changes.begin() + static_cast<std::ptrdiff_t>((i + 1) * changes.size() / n_pieces);
        Changes part(begin, end);
        if (is_rest) {
          part.assign(changes.begin(), begin);
          part.insert(part.end(), end, changes.end());
        }
        TERN_ASSIGN_OR_RETURN(const bool bad, is_bad(part));
        if (bad) {
          return std::optional(std::move(part));
        }
      }
    }
    return std::optional<Changes>();
  }

 private:
  const TestChanges& test_;
  std::map<Changes, bool> known_;
};

}  // namespace

const char* outcome_name(Outcome outcome) {
  switch (outcome) {
    case Outcome::kGood:
      return "good";
    case Outcome::kBad:
      return "bad";
    case Outcome::kUntestable:
      return "untestable";
  }
  return "?";
}

Result<Changes> smallest_bad_set(size_t n, const TestChanges& test) {
  Search search(test);
  Changes changes(n);
  std::iota(changes.begin(), changes.end(), size_t{0});
  for (size_t n_pieces = 2; changes.size() > 1;) {
    TERN_ASSIGN_OR_RETURN(std::optional<Changes> smaller, search.smaller(changes, n_pieces));
    if (smaller) {
      // After a piece, in halves again; after all but one piece, its other pieces keep their size.
      const bool was_rest = smaller->size() > changes.size() / n_pieces + 1;
      changes = *std::move(smaller);
      n_pieces = was_rest ? std::max<size_t>(2, n_pieces - 1) : 2;
    } else if (n_pieces == changes.size()) {
      break;
    } else {
      n_pieces *= 2;
    }
    n_pieces = std::min(n_pieces, changes.size());
  }
  return changes;
}

}  // namespace tern::bisect
