#include "tern/tokenizer/definition.h"

#include <algorithm>
#include <array>

namespace tern::tokenizer {

bool is_end_of_text_spelling(std::string_view spelling) {
  constexpr std::array<std::string_view, 12> kSpellings = {
      "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|endoftext|>", "<|im_end|>", "<|end|>",
      "<end_of_turn>",   "<EOT>",      "</s>",       "<eos>",         "<|eos|>",    "<|endofturn|>"};
  return std::find(kSpellings.begin(), kSpellings.end(), spelling) != kSpellings.end();
}

}  // namespace tern::tokenizer
