// What a tokenizer.json does to the text before it is split: Unicode normal forms, prepending, replacing.
// Internal to tokenizer/.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tern/base/error.h"
#include "tern/tokenizer/text/regex.h"

namespace tern::tokenizer {

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

class Normalizer {
 public:
  struct Prepend {
    std::string content;
  };
  struct Replace {
    Regex pattern;
    std::string content;
  };
  using Step = std::variant<NormalForm, Prepend, Replace>;

  void add(Step step) { steps_.push_back(std::move(step)); }
  bool empty() const { return steps_.empty(); }
  // All steps in order on valid UTF-8. Errors: kInvalidInput when a pattern exceeds its limits or the text swells
  // beyond reason (a hostile file could double it in each step).
  Result<std::string> apply(std::string_view text) const;

 private:
  std::vector<Step> steps_;
};

}  // namespace tern::tokenizer
