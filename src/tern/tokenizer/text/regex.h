// A regular expression of a tokenizer.json, matched by PCRE2 (UTF, UCP, JIT where there is one). Internal
// to tokenizer/.
//
// Debian 12's PCRE2 10.42 implements Unicode 14: numerals that were assigned later (120 of them up to Unicode 16) are
// no \p{N} here, while newer libraries count them as such.
//
// Patterns come from outside: they are compiled with limits, and a search that would take too long ends in an error.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"

struct pcre2_real_code_8;

namespace tern::tokenizer {

// Byte offsets into the searched text.
struct Match {
  size_t begin = 0;
  size_t end = 0;
};

class Regex {
 public:
  // `pattern`: Oniguruma's Ruby syntax, which the Hugging Face library uses, as far as it means the same in PCRE2; \s
  // and \w are rewritten where the two differ. `where` names the pattern's place in errors. Errors: kInvalidInput for a
  // pattern that is invalid, empty, too long, or whose meaning would differ.
  static Result<Regex> compile(std::string_view pattern, const std::string& where);
  // The pattern that matches exactly `text`.
  static std::string quoted(std::string_view text);

  // All matches in `text` (valid UTF-8), from left to right, without overlap. Empty matches count, except right after
  // another match. `matches` is replaced. Errors: kInvalidInput when the search exceeds its limits. Thread-safe.
  Status find_all(std::string_view text, std::vector<Match>& matches) const;

 private:
  std::shared_ptr<const pcre2_real_code_8> code_;
  std::string where_;
};

}  // namespace tern::tokenizer
