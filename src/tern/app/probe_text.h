// Whether generated text looks like language, for the greedy probe of `tern validate`. A model whose scales, codes or
// tokenizer are wrong still runs, and prints random words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tern::app {

struct ProbeText {
  size_t n_tokens = 0;
  size_t n_words = 0;             // pieces between blanks
  size_t n_alphabetic_words = 0;  // letters with punctuation only at their ends, or an apostrophe or hyphen inside
  size_t n_long_words = 0;        // alphabetic ones of 3 and more letters
  double mean_word_bytes = 0;
  size_t n_control_characters = 0;  // but newline and tab; and U+FFFD, what invalid UTF-8 becomes
  double most_frequent_token_share = 0;
  std::vector<std::string> problems;  // one clause each; empty: it looks like language
};

// `text`: the decoded `ids`. Letters are ASCII letters and everything beyond ASCII, so that other scripts count.
ProbeText judge_probe(std::string_view text, std::span<const int32_t> ids);

}  // namespace tern::app
