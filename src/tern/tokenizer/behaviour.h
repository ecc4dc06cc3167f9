// Whether two tokenizers encode alike: tested with a fixed set of texts. Internal to tokenizer/.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tern/tokenizer/tokenizer.h"

namespace tern::tokenizer {

// Code, digits, contractions, white space, several scripts, emoji, a text for each byte that UTF-8 can have, and the
// special tokens of both within a text.
std::vector<std::string> probe_texts(const Tokenizer& a, const Tokenizer& b);

// One sentence: how many of these texts become other ids, the first of them, its first piece that differs, and the
// likely reason. What is put in front of a text and behind it is left out. nullopt: they encode alike.
std::optional<std::string> behaviour_difference(const Tokenizer& json, const Tokenizer& gguf);

}  // namespace tern::tokenizer
