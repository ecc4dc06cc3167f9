#include "tern/app/probe_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace tern::app {
namespace {

constexpr double kMinAlphabeticShare = 0.5;
constexpr double kMaxMeanWordBytes = 24;
constexpr double kMaxTokenShare = 0.5;
constexpr size_t kFewTokens = 6;  // below, a repeated token says nothing

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & '\x80') != 0; }
bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::vector<std::string_view> split_at_blanks(std::string_view text) {
  std::vector<std::string_view> words;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find_first_of(" \n\t", begin), text.size());
    if (end > begin) {
      words.push_back(text.substr(begin, end - begin));
    }
    begin = end + 1;
  }
  return words;
}

// The number of its letters, or 0 if the word is not made of letters.
size_t letters_of_word(std::string_view word) {
  const auto first = std::find_if(word.begin(), word.end(), is_letter);
  const auto last = std::find_if(word.rbegin(), word.rend(), is_letter).base();
  if (first == word.end() || std::any_of(word.begin(), word.end(), is_digit)) {
    return 0;
  }
  const bool plain = std::all_of(first, last, [](char c) { return is_letter(c) || c == '\'' || c == '-'; });
  return plain ? static_cast<size_t>(std::count_if(first, last, is_letter)) : 0;
}

size_t count_control_characters(std::string_view text) {
  auto n = static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && !is_blank(c) && c != '\r') || byte == 0x7f;
  }));
  constexpr std::string_view kReplacement = "\xef\xbf\xbd";
  for (size_t at = text.find(kReplacement); at != std::string_view::npos; at = text.find(kReplacement, at + 3)) {
    ++n;
  }
  return n;
}

double most_frequent_share(std::span<const int32_t> ids) {
  std::map<int32_t, size_t> counts;
  size_t most = 0;
  for (const int32_t id : ids) {
    most = std::max(most, ++counts[id]);
  }
  return ids.empty() ? 0 : static_cast<double>(most) / static_cast<double>(ids.size());
}

void find_problems(ProbeText& probe) {
  const auto words = static_cast<double>(probe.n_words);
  if (probe.n_tokens == 0) {
    probe.problems.emplace_back("nothing was generated");
  }
  if (probe.n_long_words == 0) {
    probe.problems.emplace_back("there is no word of three or more letters");
  }
  if (static_cast<double>(probe.n_alphabetic_words) < kMinAlphabeticShare * words) {
    probe.problems.push_back(fmt::format("only {} of {} words are made of letters (at least {:.0f} % are needed)",
                                         probe.n_alphabetic_words, probe.n_words, 100 * kMinAlphabeticShare));
  }
  if (probe.mean_word_bytes > kMaxMeanWordBytes) {
    probe.problems.push_back(fmt::format("a word has {:.1f} bytes on average (at most {} are plausible)",
                                         probe.mean_word_bytes, kMaxMeanWordBytes));
  }
  if (probe.n_control_characters > 0) {
    probe.problems.push_back(fmt::format("there are {} control or replacement characters", probe.n_control_characters));
  }
  if (probe.n_tokens >= kFewTokens && probe.most_frequent_token_share > kMaxTokenShare) {
    probe.problems.push_back(
        fmt::format("one token makes up {:.0f} % of the output", 100 * probe.most_frequent_token_share));
  }
}

}  // namespace

ProbeText judge_probe(std::string_view text, std::span<const int32_t> ids) {
  constexpr size_t kLongWord = 3;
  ProbeText probe;
  probe.n_tokens = ids.size();
  size_t n_bytes = 0;
  for (const std::string_view word : split_at_blanks(text)) {
    const size_t n_letters = letters_of_word(word);
    ++probe.n_words;
    n_bytes += word.size();
    probe.n_alphabetic_words += n_letters > 0 ? size_t{1} : size_t{0};
    probe.n_long_words += n_letters >= kLongWord ? size_t{1} : size_t{0};
  }
  probe.mean_word_bytes = probe.n_words == 0 ? 0 : static_cast<double>(n_bytes) / static_cast<double>(probe.n_words);
  probe.n_control_characters = count_control_characters(text);
  probe.most_frequent_token_share = most_frequent_share(ids);
  find_problems(probe);
  return probe;
}

}  // namespace tern::app
