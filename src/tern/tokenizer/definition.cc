#include "tern/tokenizer/definition.h"

#include <algorithm>
#include <array>

namespace tern::tokenizer {

Status MergeList::report(Bpe::MergeOutcome outcome, std::string_view left, std::string_view right,
                         const std::string& where) {
  const std::string merge = "the merge '" + printable(left, 60) + " " + printable(right, 60) + "'";
  if (outcome == Bpe::MergeOutcome::kListedTwice) {
    return invalid_input(where, merge + " is listed twice");
  }
  if (outcome == Bpe::MergeOutcome::kNoJoinedToken) {
    return invalid_input(where, merge + " makes a token that the vocabulary does not have");
  }
  if (n_unusable_++ == 0) {
    first_unusable_ = where + ": " + merge;
  }
  return {};
}

void MergeList::finish() {
  if (n_unusable_ > 0) {
    definition_.warnings.push_back(first_unusable_ + " joins tokens that the vocabulary does not have; " +
                                   std::to_string(n_unusable_) + " of " + std::to_string(rank_) +
                                   " merges are skipped for that reason");
  }
}

bool is_end_of_text_spelling(std::string_view spelling) {
  constexpr std::array<std::string_view, 12> kSpellings = {
      "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|endoftext|>", "<|im_end|>", "<|end|>",
      "<end_of_turn>",   "<EOT>",      "</s>",       "<eos>",         "<|eos|>",    "<|endofturn|>"};
  return std::find(kSpellings.begin(), kSpellings.end(), spelling) != kSpellings.end();
}

}  // namespace tern::tokenizer
