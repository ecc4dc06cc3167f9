#include "tern/app/prompt_texts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

namespace tern::app {
namespace {

constexpr std::string_view kWhiteSpace = " \t\r\n";

constexpr std::array<std::string_view, 16> kSpellings = {
    "<s>",   "</s>",  "<bos>", "<eos>", "<pad>",           "<unk>",         "<BOS>", "<EOS>",
    "[BOS]", "[EOS]", "[CLS]", "[SEP]", "<start_of_turn>", "<end_of_turn>", "<EOT>", "<|>"};

// "<|begin_of_text|>", and DeepSeek's with U+FF5C for the bars.
struct Brackets {
  std::string_view open, close;
};
constexpr std::array<Brackets, 2> kBrackets = {{{"<|", "|>"}, {"<\xEF\xBD\x9C", "\xEF\xBD\x9C>"}}};
constexpr size_t kLongest = 64;

bool is_one_token(std::string_view text, const Brackets& brackets) {
  return text.size() >= brackets.open.size() + brackets.close.size() && text.size() <= kLongest &&
         text.starts_with(brackets.open) && text.ends_with(brackets.close) &&
         text.find(brackets.open, 1) == std::string_view::npos &&
         text.find_first_of(kWhiteSpace) == std::string_view::npos;
}

// How many bytes the special token at the front has; 0: there is none.
size_t token_at_front(std::string_view text) {
  for (const std::string_view spelled : kSpellings) {
    if (text.starts_with(spelled)) {
      return spelled.size();
    }
  }
  for (const Brackets& brackets : kBrackets) {
    const size_t close = text.find(brackets.close, brackets.open.size());
    const size_t end = close == std::string_view::npos ? 0 : close + brackets.close.size();
    if (end > 0 && is_one_token(text.substr(0, end), brackets)) {
      return end;
    }
  }
  return 0;
}

size_t token_at_back(std::string_view text) {
  for (const std::string_view spelled : kSpellings) {
    if (text.ends_with(spelled)) {
      return spelled.size();
    }
  }
  for (const Brackets& brackets : kBrackets) {
    const size_t open = text.rfind(brackets.open);
    if (open != std::string_view::npos && is_one_token(text.substr(open), brackets)) {
      return text.size() - open;
    }
  }
  return 0;
}

// Recordings of scenarios given by ids had "" for a text once; an empty text is no more than what surrounds it.
bool is_given_as_text(const trace::RunResult& result) {
  constexpr size_t kAroundText = 2;
  return result.prompt_is_text && (!result.prompt.empty() || result.prompt_tokens.size() <= kAroundText);
}

}  // namespace

std::string_view without_special_tokens(std::string_view text) {
  while (const size_t n = token_at_front(text)) {
    text.remove_prefix(std::min(text.find_first_not_of(kWhiteSpace, n), text.size()));
  }
  while (const size_t n = token_at_back(text)) {
    text.remove_suffix(n);
    text = text.substr(0, text.find_last_not_of(kWhiteSpace) + 1);
  }
  return text;
}

Status check_prompts(const trace::RunResult& subject, const trace::RunResult& reference) {
  const bool ids_are_equal = !subject.prompt_tokens.empty() && subject.prompt_tokens == reference.prompt_tokens;
  if (ids_are_equal || !is_given_as_text(subject) || !is_given_as_text(reference) ||
      without_special_tokens(subject.prompt) == without_special_tokens(reference.prompt)) {
    return {};
  }
  return fail(ErrorCode::kUsage, "the two sides",
              fmt::format("ran different prompts: the subject \"{}\", the reference \"{}\"", printable(subject.prompt),
                          printable(reference.prompt)),
              "choose recordings of one prompt");
}

}  // namespace tern::app
