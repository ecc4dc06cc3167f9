#include "tern/sweep/scenarios.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "tern/base/file.h"
#include "tern/sweep/toml_parts.h"

namespace tern::sweep {
namespace {

using outcome::Scenario;

constexpr int64_t kMaxTokens = 1 << 20;
constexpr size_t kMaxScenarios = 1000;
constexpr const char* kKind = "scenario file";

// Why this cannot be the name of a scenario's folder; empty if it can.
std::string problem_with_name(std::string_view name) {
  constexpr size_t kMaxLength = 64;
  const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
  if (name.empty() || name.size() > kMaxLength || !plain || name.front() == '.' || name.front() == '-') {
    return fmt::format(
        "'{}' cannot be a folder's name here: 1 to {} letters, digits, '.', '_' or '-', "
        "beginning with a letter, a digit or '_'",
        printable(name, kMaxLength), kMaxLength);
  }
  for (const std::string_view reserved : {"summary.md", "sweep.json", "junit.xml", "report.html"}) {
    if (name == reserved) {
      return fmt::format("'{}' is the name of one of the sweep's own files", name);
    }
  }
  return {};
}

Result<std::string> string_at(const toml::table& table, const char* key, const std::string& file_name) {
  const toml::node* node = table.get(key);
  if (node == nullptr) {
    return invalid_input(place(file_name, table, key), "is missing in this scenario");
  }
  const auto value = node->value_exact<std::string>();
  if (!value) {
    return invalid_input(place(file_name, *node, key), "is not a string");
  }
  if (value->find('\0') != std::string::npos) {
    return invalid_input(place(file_name, *node, key), "holds a NUL character, which no command line can carry");
  }
  return *value;
}

Result<std::vector<int32_t>> token_ids_from(const toml::node& node, const std::string& file_name) {
  const toml::array* const array = node.as_array();
  if (array == nullptr || array->empty()) {
    return invalid_input(place(file_name, node, "token_ids"), "is not an array of one token id or more");
  }
  std::vector<int32_t> ids;
  for (const toml::node& element : *array) {
    const auto id = element.value_exact<int64_t>();
    if (!id || *id < 0 || *id > INT32_MAX) {
      return invalid_input(place(file_name, element, "token_ids"),
                           fmt::format("element {} is not an integer from 0 to {}", ids.size(), INT32_MAX));
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
  return ids;
}

Result<Scenario> scenario_from(const toml::table& table, const std::string& file_name) {
  TERN_RETURN_IF_ERROR(
      check_keys(table, {"name", "prompt", "token_ids", "max_tokens", "description"}, file_name, kKind));
  Scenario scenario;
  TERN_ASSIGN_OR_RETURN(scenario.name, string_at(table, "name", file_name));
  if (const std::string problem = problem_with_name(scenario.name); !problem.empty()) {
    return invalid_input(place(file_name, *table.get("name"), "name"), problem);
  }
  if (const toml::node* token_ids = table.get("token_ids")) {
    if (table.contains("prompt")) {
      return invalid_input(place(file_name, *token_ids, "token_ids"), "stands beside a prompt", "keep one of the two");
    }
    TERN_ASSIGN_OR_RETURN(scenario.token_ids, token_ids_from(*token_ids, file_name));
  } else {
    TERN_ASSIGN_OR_RETURN(scenario.prompt, string_at(table, "prompt", file_name));
  }
  if (table.contains("description")) {
    TERN_ASSIGN_OR_RETURN(scenario.description, string_at(table, "description", file_name));
  }
  const toml::node* max_tokens = table.get("max_tokens");
  if (max_tokens == nullptr) {
    return invalid_input(place(file_name, table, "max_tokens"), "is missing in this scenario");
  }
  const auto count = max_tokens->value_exact<int64_t>();
  if (!count || *count < 1 || *count > kMaxTokens) {
    return invalid_input(place(file_name, *max_tokens, "max_tokens"),
                         fmt::format("is not an integer from 1 to {}", kMaxTokens));
  }
  scenario.max_tokens = static_cast<int>(*count);
  return scenario;
}

}  // namespace

std::vector<Scenario> builtin_scenarios() {
  return {{"scenario1", "2+2=", {}, 1, "Single token prefill (minimal test)"},
          {"scenario2", "Hello", {}, 2, "Two token generation"},
          {"scenario3", "Count: 1,2,3,", {}, 4, "Four token generation"}};
}

Result<std::vector<Scenario>> read_scenarios(const std::filesystem::path& path) {
  constexpr uint64_t kMaxBytes = uint64_t{16} << 20;
  TERN_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxBytes));
  return parse_scenarios(text, path.string());
}

Result<std::vector<Scenario>> parse_scenarios(std::string_view toml_text, const std::string& file_name) {
  TERN_ASSIGN_OR_RETURN(const toml::table root, parse_toml(toml_text, file_name));
  TERN_RETURN_IF_ERROR(check_keys(root, {"scenario"}, file_name, kKind));
  const toml::node* node = root.get("scenario");
  if (node == nullptr || !node->is_array_of_tables()) {
    return invalid_input(file_name + ": scenario", "there is no [[scenario]] table");
  }
  const toml::array& entries = *node->as_array();
  if (entries.size() > kMaxScenarios) {
    return invalid_input(file_name + ": scenario", fmt::format("there are more than {} of them", kMaxScenarios));
  }
  std::vector<Scenario> scenarios;
  for (const toml::node& entry : entries) {
    TERN_ASSIGN_OR_RETURN(Scenario scenario, scenario_from(*entry.as_table(), file_name));
    const auto same_name = [&](const Scenario& other) { return other.name == scenario.name; };
    if (std::any_of(scenarios.begin(), scenarios.end(), same_name)) {
      return invalid_input(place(file_name, *entry.as_table()->get("name"), "name"),
                           fmt::format("'{}' stands twice", scenario.name));
    }
    scenarios.push_back(std::move(scenario));
  }
  return scenarios;
}

Result<std::vector<Scenario>> scenarios_named(const std::vector<Scenario>& scenarios,
                                              const std::vector<std::string>& names) {
  std::string known;
  std::vector<Scenario> chosen;
  for (const Scenario& scenario : scenarios) {
    known += (known.empty() ? "" : ", ") + scenario.name;
    if (names.empty() || std::find(names.begin(), names.end(), scenario.name) != names.end()) {
      chosen.push_back(scenario);
    }
  }
  for (const std::string& name : names) {
    if (std::none_of(chosen.begin(), chosen.end(), [&](const Scenario& scenario) { return scenario.name == name; })) {
      return fail(ErrorCode::kUsage, "--only", fmt::format("there is no scenario '{}'", printable(name, 80)),
                  "there are: " + known);
    }
  }
  return chosen;
}

}  // namespace tern::sweep
