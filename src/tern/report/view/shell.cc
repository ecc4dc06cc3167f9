#include "tern/report/view/shell.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "tern/base/json.h"

namespace tern::report {
namespace {

bool is_plain_in_shell(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("_-+=:,./@%").find(c) != std::string_view::npos;
}

// Whether the text is the same after it went through a terminal, an editor, JSON and XML (which has no U+FFFE, U+FFFF).
bool can_be_shown(std::string_view text) {
  const auto read_back = parse_json(to_json_line(Json(text)), "");
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return std::iscntrl(static_cast<unsigned char>(c)) != 0; }) &&
         text.find("\xEF\xBF\xBE") == std::string_view::npos && text.find("\xEF\xBF\xBF") == std::string_view::npos &&
         read_back && read_back->get<std::string>() == text;
}

std::string shell_word(std::string_view word) {
  if (!word.empty() && std::all_of(word.begin(), word.end(), is_plain_in_shell)) {
    return std::string(word);
  }
  std::string out;
  if (can_be_shown(word)) {
    for (const char c : word) {
      out += c == '\'' ? "'\\''" : std::string(1, c);
    }
    return "'" + out + "'";
  }
  // $(...) takes line feeds off the end, so they follow it as they are.
  const std::string_view last_lines = word.substr(word.find_last_not_of('\n') + 1);
  for (const char c : word.substr(0, word.size() - last_lines.size())) {
    out +=
        c != '%' && is_plain_in_shell(c) ? std::string(1, c) : fmt::format("\\{:03o}", static_cast<unsigned char>(c));
  }
  return "\"$(printf '" + out + "')\"" + (last_lines.empty() ? "" : fmt::format("'{}'", last_lines));
}

}  // namespace

std::string shell_line(const std::map<std::string, std::string>& environment, const std::vector<std::string>& command) {
  std::string out;
  for (const auto& [name, value] : environment) {
    out += name + "=" + shell_word(value) + " ";
  }
  for (const std::string& word : command) {
    out += shell_word(word) + " ";
  }
  if (!out.empty()) {
    out.pop_back();
  }
  return out;
}

std::string shell_line(const outcome::ReproCommand& repro) {
  const std::string line = shell_line(repro.environment, repro.command);
  return repro.working_dir.empty() ? line : fmt::format("(cd {} && {})", shell_word(repro.working_dir.string()), line);
}

}  // namespace tern::report
