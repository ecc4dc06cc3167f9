// Whether two recordings were asked the same: comparing answers to different prompts proves nothing of the engines.
#pragma once

#include <string>
#include <string_view>

#include "tern/base/error.h"
#include "tern/trace/run_folder.h"

namespace tern::app {

// Without special tokens at either end, by their usual spellings: <|...|>, <s>, </s>, <bos>, [CLS] and the like; and
// without white space between them and the text.
std::string_view without_special_tokens(std::string_view text);

// Errors: kUsage, which shows both, for two prompts given as texts that differ by more than special tokens at either
// end. Equal ids are equal prompts, whatever the texts. Ids that differ otherwise are for the comparison to report.
Status check_prompts(const trace::RunResult& subject, const trace::RunResult& reference);

}  // namespace tern::app
