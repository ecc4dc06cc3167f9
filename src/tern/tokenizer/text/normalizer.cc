#include "tern/tokenizer/text/normalizer.h"

#include <utf8proc.h>

#include <cstdlib>
#include <memory>

namespace tern::tokenizer {
namespace {

struct Free {
  void operator()(utf8proc_uint8_t* text) const { std::free(text); }
};

Result<std::string> to_normal_form(const std::string& text, NormalForm form) {
  const bool composed = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  const bool compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  unsigned options = UTF8PROC_STABLE;
  options |= static_cast<unsigned>(composed ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE);
  options |= compatible ? static_cast<unsigned>(UTF8PROC_COMPAT) : 0u;
  utf8proc_uint8_t* output = nullptr;
  const utf8proc_ssize_t length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &output, static_cast<utf8proc_option_t>(options));
  const std::unique_ptr<utf8proc_uint8_t, Free> owned(output);
  if (length < 0) {
    return invalid_input("text", std::string("cannot be normalized: ") + utf8proc_errmsg(length));
  }
  return std::string(reinterpret_cast<const char*>(output), static_cast<size_t>(length));
}

Result<std::string> replace_all(const std::string& text, const Normalizer::Replace& step, size_t max_bytes) {
  std::vector<Match> matches;
  TERN_RETURN_IF_ERROR(step.pattern.find_all(text, matches));
  std::string output;
  size_t copied = 0;
  for (const Match& match : matches) {
    output.append(text, copied, match.begin - copied).append(step.content);
    copied = match.end;
    if (output.size() > max_bytes) {
      break;
    }
  }
  return output.append(text, copied);
}

}  // namespace

Result<std::string> Normalizer::apply(std::string_view text) const {
  std::string current(text);
  const size_t max_bytes = 64 * text.size() + (size_t{1} << 20);
  for (const Step& step : steps_) {
    if (const auto* form = std::get_if<NormalForm>(&step)) {
      TERN_ASSIGN_OR_RETURN(current, to_normal_form(current, *form));
    } else if (const auto* prepend = std::get_if<Prepend>(&step)) {
      if (!current.empty()) {
        current.insert(0, prepend->content);
      }
    } else {
      TERN_ASSIGN_OR_RETURN(current, replace_all(current, std::get<Replace>(step), max_bytes));
    }
    if (current.size() > max_bytes) {
      return invalid_input("text", "the tokenizer's normalizer swells it from " + std::to_string(text.size()) +
                                       " to over " + std::to_string(max_bytes) + " bytes");
    }
  }
  return current;
}

}  // namespace tern::tokenizer
