#include "tern/report/writers/escape.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "tern/base/json.h"

namespace tern::report {

std::string one_line(std::string_view text) {
  constexpr size_t kMaxBytes = 2000;
  // Through JSON and back: the writer replaces what is not UTF-8.
  const auto valid = parse_json(to_json_line(Json(printable(text, kMaxBytes))), "");
  return valid ? valid->get<std::string>() : std::string();
}

std::string markdown_text(std::string_view text) {
  const std::string line = one_line(text);
  const auto is_word = [&line](size_t i) {
    return i < line.size() && std::isalnum(static_cast<unsigned char>(line[i])) != 0;
  };
  std::string out;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    const bool inside_a_word = c == '_' && i > 0 && is_word(i - 1) && is_word(i + 1);
    const bool leading = i == 0 && (c == '#' || c == '-' || c == '+' || c == '=');
    if (leading || (!inside_a_word && std::string_view("&<>`*_[]|\\~$").find(c) != std::string_view::npos)) {
      out += fmt::format("&#{};", static_cast<int>(c));
    } else {
      out += c;
    }
  }
  return out;
}

std::string markdown_code(std::string_view text, Place where) {
  const std::string line = one_line(text);
  size_t longest = 0;
  for (size_t i = 0, run = 0; i < line.size(); ++i) {
    run = line[i] == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  const std::string fence(longest + 1, '`');
  // CommonMark strips one space on both sides, so padding protects backticks and spaces at the ends.
  const bool pad =
      line.empty() || line.front() == '`' || line.back() == '`' || (line.front() == ' ' && line.back() == ' ');
  std::string body;
  for (const char c : line) {
    body += c == '|' && where == Place::kTableCell ? "\\|" : std::string(1, c);
  }
  return pad ? fence + " " + body + " " + fence : fence + body + fence;
}

std::string markdown(const Spans& spans, Place where) {
  std::string out;
  for (const Span& span : spans) {
    out += span.is_code ? markdown_code(span.text, where) : markdown_text(span.text);
  }
  return out;
}

}  // namespace tern::report
