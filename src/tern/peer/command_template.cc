#include "tern/peer/command_template.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include "tern/peer/abilities.h"

namespace tern::peer {
namespace {

constexpr std::string_view kRunPlaces[] = {"model",   "tokenizer", "prompt", "max_tokens",
                                           "threads", "seed",      "out",    "trace_dir"};

// Calls `literal` and `placeholder` for the pieces of a word. Only {lower_case} counts: braces in JSON arguments and
// the like stay as they are.
template <class Literal, class Placeholder>
void for_each_piece(std::string_view word, Literal literal, Placeholder placeholder) {
  while (!word.empty()) {
    const size_t open = word.find('{');
    const size_t close = word.find('}', open == std::string_view::npos ? word.size() : open);
    if (close == std::string_view::npos) {
      literal(word);
      return;
    }
    const std::string_view name = word.substr(open + 1, close - open - 1);
    const bool is_name =
        !name.empty() && name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_") == std::string_view::npos;
    if (is_name) {
      literal(word.substr(0, open));
      placeholder(name);
      word.remove_prefix(close + 1);
    } else {
      literal(word.substr(0, open + 1));
      word.remove_prefix(open + 1);
    }
  }
}

// nullopt: a quote is not closed.
std::optional<std::vector<std::string>> split_words(std::string_view text) {
  std::vector<std::string> words;
  std::optional<std::string> word;
  char quote = '\0';
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool blank = c == ' ' || c == '\t' || c == '\n';
    if (quote == '\0' && blank) {
      if (word) {
        words.push_back(*std::exchange(word, std::nullopt));
      }
      continue;
    }
    if (!word) {
      word.emplace();
    }
    if (c == '\\' && quote != '\'' && i + 1 < text.size()) {
      *word += text[++i];
    } else if (quote == '\0' && (c == '\'' || c == '"')) {
      quote = c;
    } else if (quote != '\0' && c == quote) {
      quote = '\0';
    } else {
      *word += c;
    }
  }
  if (quote != '\0') {
    return std::nullopt;
  }
  if (word) {
    words.push_back(*word);
  }
  return words;
}

}  // namespace

std::vector<std::string> known_places() {
  std::vector<std::string> places(std::begin(kRunPlaces), std::end(kRunPlaces));
  for (const Ability& ability : known_abilities()) {
    if (ability.has_value) {
      places.emplace_back(ability.key);
    }
  }
  return places;
}

Result<std::vector<std::string>> split_command(std::string_view text, const std::string& where) {
  auto words = split_words(text);
  if (!words) {
    return fail(ErrorCode::kUsage, where, "a quote in the command is not closed");
  }
  if (words->empty() || words->front().empty()) {
    return fail(ErrorCode::kUsage, where, "the command is empty");
  }
  return *std::move(words);
}

Result<CommandTemplate> CommandTemplate::parse(std::string_view text, const std::string& where,
                                               const Settings& settings) {
  TERN_ASSIGN_OR_RETURN(std::vector<std::string> words, split_command(text, where));
  const std::vector<std::string> known = known_places();
  size_t n_placeholders = 0;
  std::string unknown;
  for (const std::string& word : words) {
    for_each_piece(
        word, [](std::string_view) {},
        [&](std::string_view name) {
          ++n_placeholders;
          if (std::find(known.begin(), known.end(), name) == known.end() && !settings.contains(std::string(name))) {
            unknown = name;
          }
        });
  }
  if (!unknown.empty()) {
    return fail(ErrorCode::kUsage, where, fmt::format("the command has an unknown place {{{}}}", unknown),
                fmt::format("known are {{{}}}, and those that a KEY=VALUE option names", fmt::join(known, "} {")));
  }
  if (n_placeholders == 0) {
    for (const char* word : {"--model", "{model}", "--tokenizer", "{tokenizer}", "--prompt", "{prompt}", "--max-tokens",
                             "{max_tokens}", "--threads", "{threads}", "--out", "{out}"}) {
      words.emplace_back(word);
    }
  }
  CommandTemplate command(std::move(words));
  command.speaks_engine_contract_ = n_placeholders == 0;
  return command;
}

CommandTemplate CommandTemplate::by_token_ids() const {
  CommandTemplate command = *this;
  command.words_.clear();
  for (size_t i = 0; i < words_.size(); ++i) {
    const bool in_two_words = words_[i] == "--prompt" && i + 1 < words_.size() && words_[i + 1] == "{prompt}";
    if (in_two_words || words_[i] == "--prompt={prompt}") {
      command.words_.insert(command.words_.end(), {"--token-ids", "{token_ids}"});
      i += in_two_words ? 1 : 0;
    } else {
      command.words_.push_back(words_[i]);
    }
  }
  return command;
}

std::vector<std::string> CommandTemplate::fill(const Placeholders& values) const {
  std::vector<std::string> filled;
  for (const std::string& word : words_) {
    std::string& out = filled.emplace_back();
    for_each_piece(
        word, [&](std::string_view literal) { out += literal; },
        [&](std::string_view name) {
          const auto value = values.find(name);
          out += value == values.end() ? std::string() : value->second;
        });
  }
  return filled;
}

bool CommandTemplate::uses(std::string_view placeholder) const {
  bool found = false;
  for (const std::string& word : words_) {
    for_each_piece(
        word, [](std::string_view) {}, [&](std::string_view name) { found = found || name == placeholder; });
  }
  return found;
}

}  // namespace tern::peer
