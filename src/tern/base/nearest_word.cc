#include "tern/base/nearest_word.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace tern {
namespace {

constexpr size_t kLongestWord = 200;  // longer ones are no misspelt words

// Levenshtein's distance.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

}  // namespace

std::optional<std::string> nearest_word(std::string_view word, const std::vector<std::string>& candidates) {
  if (word.size() > kLongestWord) {
    return std::nullopt;
  }
  std::optional<std::string> best;
  size_t least = std::max<size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = candidate.size() > kLongestWord ? least : edit_distance(word, candidate);
    if (distance < least) {
      least = distance;
      best = candidate;
    }
  }
  if (!best && !word.empty()) {
    const auto starts = [&](const std::string& candidate) { return candidate.starts_with(word); };
    if (std::count_if(candidates.begin(), candidates.end(), starts) == 1) {
      best = *std::find_if(candidates.begin(), candidates.end(), starts);
    }
  }
  return best;
}

}  // namespace tern
