// Whether two recordings are of one prompt. Answers to different prompts prove nothing about the engines.
#pragma once

#include <string>
#include <string_view>

#include "tern/base/error.h"
#include "tern/trace/run_folder.h"

namespace tern::app {

// `text` without special tokens at either end, by their usual spellings (<|...|>, <s>, </s>, <bos>, [CLS] and the
// like), and without white space between them and the text.
std::string_view without_special_tokens(std::string_view text);

// Errors: kUsage, which shows both, for two prompts given as texts that differ by more than special tokens at either
// end. Equal ids are equal prompts, whatever the texts. The comparison reports all other differences of ids.
Status check_prompts(const trace::RunResult& subject, const trace::RunResult& reference);

}  // namespace tern::app
