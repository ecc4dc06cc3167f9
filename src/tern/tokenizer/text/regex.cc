#include "tern/tokenizer/text/regex.h"

#include <array>
#include <chrono>
#include <cstdint>

#include "tern/tokenizer/text/unicode.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace tern::tokenizer {
namespace {

constexpr size_t kMaxPatternBytes = size_t{1} << 16;
constexpr size_t kJitStackBytes = size_t{8} << 20;
// A search may start this many bytes ahead before the clock is looked at again.
constexpr size_t kSearchWindow = 256;
// Ordinary patterns step back at most once per character, a few alternatives long.
constexpr uint32_t kMatchLimitBase = 20'000;
constexpr uint32_t kMatchLimitPerByte = 16;

// White_Space and the word characters of Oniguruma and of Rust's regex, as the inside of a character class.
constexpr std::string_view kSpaces =
    "\\t-\\r\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}";
constexpr std::string_view kNotSpaces =
    "\\x{0}-\\x{8}\\x{E}-\\x{1F}\\x{21}-\\x{84}\\x{86}-\\x{9F}\\x{A1}-\\x{167F}\\x{1681}-\\x{1FFF}\\x{200B}-\\x{2027}"
    "\\x{202A}-\\x{202E}\\x{2030}-\\x{205E}\\x{2060}-\\x{2FFF}\\x{3001}-\\x{10FFFF}";
constexpr std::string_view kWords = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";

// Rewrites one pattern for PCRE2; refuses what PCRE2 would read differently without a word.
class Translation {
 public:
  Translation(std::string_view pattern, const std::string& where) : pattern_(pattern), where_(where) {}

  Result<std::string> run() {
    if (pattern_.substr(0, 2) == "(*") {
      return refused("verbs like (*...) are not part of the syntax");
    }
    while (offset_ < pattern_.size()) {
      TERN_RETURN_IF_ERROR(in_class_ ? class_character() : plain_character());
    }
    return std::move(output_);
  }

 private:
  tl::unexpected<Error> refused(const std::string& what) const {
    return invalid_input(where_, "pattern, at byte " + std::to_string(offset_) + ": " + what);
  }
  void copy(size_t n_bytes) {
    output_.append(pattern_.substr(offset_, n_bytes));
    offset_ += n_bytes;
  }
  bool next_is(std::string_view text) const { return pattern_.substr(offset_, text.size()) == text; }

  Status plain_character() {
    if (pattern_[offset_] == '\\') {
      return escape();
    }
    if (pattern_[offset_] == '[') {
      in_class_ = true;
      copy(next_is("[^") ? 2 : 1);
      if (next_is("]")) {
        copy(1);
      }
      return {};
    }
    copy(1);
    return {};
  }

  Status class_character() {
    const size_t posix_end = next_is("[:") ? pattern_.find(":]", offset_ + 2) : std::string_view::npos;
    if (posix_end != std::string_view::npos) {
      copy(posix_end + 2 - offset_);
      return {};
    }
    if (next_is("[") || next_is("&&")) {
      return refused("character classes inside of character classes are not supported");
    }
    if (pattern_[offset_] == '\\') {
      return escape();
    }
    in_class_ = !next_is("]");
    copy(1);
    return {};
  }

  Status escape() {
    if (offset_ + 1 == pattern_.size()) {
      return refused("a lone backslash at the end");
    }
    const char kind = pattern_[offset_ + 1];
    std::string_view inside;
    if (kind == 's' || kind == 'S') {
      inside = in_class_ && kind == 'S' ? kNotSpaces : kSpaces;
    } else if (kind == 'w' || (kind == 'W' && !in_class_)) {
      inside = kWords;
    } else if (kind == 'W' || kind == 'h' || kind == 'H' || kind == 'Q' || kind == 'E' || kind == 'C') {
      return refused(std::string("\\") + kind + " is not supported here");
    }
    if (inside.empty()) {
      copy(2);
      return {};
    }
    if (!in_class_) {
      output_.append(kind == 'S' || kind == 'W' ? "[^" : "[");
    }
    output_.append(inside);
    if (!in_class_) {
      output_.push_back(']');
    }
    offset_ += 2;
    return {};
  }

  std::string_view pattern_;
  const std::string& where_;
  std::string output_;
  size_t offset_ = 0;
  bool in_class_ = false;
};

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  std::string message;
  for (const PCRE2_UCHAR c : text) {
    if (c == 0) {
      break;
    }
    message.push_back(static_cast<char>(c));
  }
  return message;
}

struct Free {
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_jit_stack* stack) const { pcre2_jit_stack_free(stack); }
};

// One pass over one text.
class Search {
 public:
  Search(const pcre2_code* code, std::string_view text)
      : code_(code),
        text_(text),
        data_(pcre2_match_data_create(1, nullptr)),
        context_(pcre2_match_context_create(nullptr)),
        deadline_(std::chrono::steady_clock::now() + std::chrono::seconds(5 + text.size() / 200'000)) {
    const uint64_t limit = kMatchLimitBase + uint64_t{kMatchLimitPerByte} * text.size();
    pcre2_set_match_limit(context_.get(), static_cast<uint32_t>(std::min<uint64_t>(limit, UINT32_MAX)));
  }

  // 1: a match, in `match`; 0: none from `from` on; negative: PCRE2's error.
  int next(size_t from, Match& match) {
    for (size_t start = from;;) {
      const int found = match_window(start);
      if (found > 0) {
        const size_t* offsets = pcre2_get_ovector_pointer(data_.get());
        match = {offsets[0], offsets[1]};
        return 1;
      }
      if (found != PCRE2_ERROR_NOMATCH) {
        return found;
      }
      if (text_.size() - start <= kSearchWindow) {
        return 0;
      }
      start += kSearchWindow;
      while (start < text_.size() && (static_cast<uint8_t>(text_[start]) & 0xC0) == 0x80) {
        ++start;
      }
    }
  }

 private:
  int match_window(size_t start) {
    if (std::chrono::steady_clock::now() > deadline_) {
      return PCRE2_ERROR_MATCHLIMIT;
    }
    pcre2_set_offset_limit(context_.get(), start + std::min(text_.size() - start, kSearchWindow));
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text_.data());
    int found = pcre2_match(code_, subject, text_.size(), start, PCRE2_NO_UTF_CHECK, data_.get(), context_.get());
    if (found == PCRE2_ERROR_JIT_STACKLIMIT && !jit_stack_) {
      jit_stack_.reset(pcre2_jit_stack_create(size_t{32} << 10, kJitStackBytes, nullptr));
      pcre2_jit_stack_assign(context_.get(), nullptr, jit_stack_.get());
      found = pcre2_match(code_, subject, text_.size(), start, PCRE2_NO_UTF_CHECK, data_.get(), context_.get());
    }
    return found == 0 ? 1 : found;  // 0: more groups than offsets kept; the whole match is there
  }

  const pcre2_code* code_;
  std::string_view text_;
  std::unique_ptr<pcre2_match_data, Free> data_;
  std::unique_ptr<pcre2_match_context, Free> context_;
  std::unique_ptr<pcre2_jit_stack, Free> jit_stack_;
  std::chrono::steady_clock::time_point deadline_;
};

}  // namespace

Result<Regex> Regex::compile(std::string_view pattern, const std::string& where) {
  if (pattern.empty() || pattern.size() > kMaxPatternBytes) {
    return invalid_input(where, pattern.empty()
                                    ? "the pattern is empty"
                                    : "the pattern is longer than " + std::to_string(kMaxPatternBytes) + " bytes");
  }
  TERN_ASSIGN_OR_RETURN(const std::string translated, Translation(pattern, where).run());
  const std::unique_ptr<pcre2_compile_context, Free> context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 64);
  // In Ruby's syntax ^ and $ always mean lines.
  constexpr uint32_t kOptions =
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_USE_OFFSET_LIMIT;
  int error = 0;
  size_t error_offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(), kOptions, &error,
                                   &error_offset, context.get());
  if (code == nullptr) {
    return invalid_input(where, "the pattern " + printable(pattern, 80) + " is invalid: " + message_of(error));
  }
  Regex regex;
  regex.code_ = std::shared_ptr<const pcre2_real_code_8>(code, [](pcre2_code* owned) { pcre2_code_free(owned); });
  regex.where_ = where;
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // without JIT the interpreter runs: slower, the same matches
  return regex;
}

std::string Regex::quoted(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    if (static_cast<uint8_t>(c) < 0x80 && std::string_view("\\^$.|?*+()[]{}&#-").find(c) != std::string_view::npos) {
      pattern.push_back('\\');
    }
    pattern.push_back(c);
  }
  return pattern;
}

Status Regex::find_all(std::string_view text, std::vector<Match>& matches) const {
  matches.clear();
  Search search(code_.get(), text);
  size_t from = 0;
  size_t last_end = SIZE_MAX;
  while (from <= text.size()) {
    Match match;
    const int found = search.next(from, match);
    if (found == 0) {
      break;
    }
    if (found < 0) {
      return invalid_input(where_, "the pattern takes too long on the text: " + message_of(found));
    }
    if (match.begin < from || match.end < match.begin) {
      return invalid_input(where_, "the pattern moves the start of its match out of place");
    }
    if (match.begin == match.end && match.end == last_end) {
      from = match.end < text.size() ? match.end + character_at(text, match.end).n_bytes : text.size() + 1;
      continue;
    }
    matches.push_back(match);
    last_end = match.end;
    from = match.end;
  }
  return {};
}

}  // namespace tern::tokenizer
