// The known word that was probably meant by an unknown one, for error messages.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tern {

// The candidate with the smallest edit distance to `word`. Where more than a third of the word would change: the only
// candidate that begins with it, or nullopt.
std::optional<std::string> nearest_word(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace tern
