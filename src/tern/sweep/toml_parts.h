// What the readers of TOML files have in common. Private to sweep/.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>

#include "tern/base/error.h"

namespace tern::sweep {

// "scenarios.toml line 3: prompt"
inline std::string place(const std::string& file_name, const toml::node& node, std::string_view key) {
  return fmt::format("{} line {}: {}", file_name, node.source().begin.line, key);
}

// `file_kind`: "scenario file". Errors: kInvalidInput for a key that is none of `known`.
inline Status check_keys(const toml::table& table, std::initializer_list<std::string_view> known,
                         const std::string& file_name, std::string_view file_kind) {
  for (const auto& [key, value] : table) {
    if (std::find(known.begin(), known.end(), key.str()) == known.end()) {
      return invalid_input(fmt::format("{} line {}: {}", file_name, key.source().begin.line, printable(key.str())),
                           fmt::format("is no key of a {}", file_kind),
                           fmt::format("known here: {}", fmt::join(known, ", ")));
    }
  }
  return {};
}

inline Result<toml::table> parse_toml(std::string_view text, const std::string& file_name) {
  try {
    return toml::parse(text, file_name);
  } catch (const toml::parse_error& error) {
    return invalid_input(fmt::format("{} line {}", file_name, error.source().begin.line),
                         fmt::format("is not valid TOML: {}", error.description()));
  }
}

}  // namespace tern::sweep
