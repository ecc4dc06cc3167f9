#include "tern/peer/settings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "tern/base/nearest_word.h"

namespace tern::peer {
namespace {

constexpr size_t kMostSettings = 64, kMostValues = 256, kLongestWord = 64;
constexpr std::string_view kKeyCharacters = "abcdefghijklmnopqrstuvwxyz0123456789_";
constexpr int64_t kLargestNumber = int64_t{1} << 31;

bool is_key(const std::string& word) {
  return !word.empty() && word.size() <= kLongestWord && word.find_first_not_of(kKeyCharacters) == std::string::npos;
}

bool is_value(const Json& value) {
  if (!value.is_string()) return false;
  const auto& word = value.get_ref<const std::string&>();
  return !word.empty() && word.size() <= kLongestWord && word == printable(word) && word.find(' ') == std::string::npos;
}

Result<KnownSetting> known_setting(const std::string& key, const Json& json, const std::string& where) {
  if (!is_key(key)) {
    return invalid_input(where, fmt::format("'{}' is no name of a setting", printable(key)));
  }
  KnownSetting setting{.key = key, .values = {}};
  const std::string place = where + "/" + key;
  if (!json.is_object() || !json.contains("values")) {
    TERN_ASSIGN_OR_RETURN(setting.low, json_integer(json, "from", place, 0, kLargestNumber));
    TERN_ASSIGN_OR_RETURN(setting.high, json_integer(json, "to", place, setting.low, kLargestNumber));
    return setting;
  }
  const Json& values = json.at("values");
  if (!values.is_array() || values.empty() || values.size() > kMostValues ||
      !std::all_of(values.begin(), values.end(), is_value)) {
    return invalid_input(place, fmt::format("its values are no list of 1 to {} words", kMostValues));
  }
  for (const Json& value : values) {
    setting.values.push_back(value.get<std::string>());
  }
  return setting;
}

bool accepts(const KnownSetting& setting, const std::string& value) {
  if (!setting.values.empty()) {
    return std::find(setting.values.begin(), setting.values.end(), value) != setting.values.end();
  }
  int64_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  return error == std::errc() && end == value.data() + value.size() && number >= setting.low && number <= setting.high;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates) {
  const auto near = nearest_word(word, candidates);
  return near ? fmt::format("did you mean '{}'? ", *near) : std::string();
}

}  // namespace

std::string KnownSetting::text() const {
  return values.empty() ? fmt::format("{} ({} to {})", key, low, high)
                        : fmt::format("{} ({})", key, fmt::join(values, ", "));
}

Result<std::vector<KnownSetting>> known_settings(const Json& settings, const std::string& where) {
  if (!settings.is_object() || settings.size() > kMostSettings) {
    return invalid_input(where, fmt::format("is no object of at most {} settings", kMostSettings));
  }
  std::vector<KnownSetting> known;
  for (const auto& [key, json] : settings.items()) {
    TERN_ASSIGN_OR_RETURN(KnownSetting setting, known_setting(key, json, where));
    known.push_back(std::move(setting));
  }
  return known;
}

Result<Settings> parse_settings(const std::vector<std::string>& texts, const std::string& option) {
  Settings settings;
  for (const std::string& text : texts) {
    const std::string where = fmt::format("{} {}", option, printable(text));
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
      return fail(ErrorCode::kUsage, where, "is not of the form KEY=VALUE");
    }
    if (!settings.emplace(text.substr(0, equals), text.substr(equals + 1)).second) {
      return fail(ErrorCode::kUsage, where, "sets its key a second time");
    }
  }
  return settings;
}

Status check_settings(const Settings& settings, const std::vector<KnownSetting>& known, const std::string& engine,
                      const std::string& option) {
  std::vector<std::string> keys, texts;
  for (const KnownSetting& setting : known) {
    keys.push_back(setting.key);
    texts.push_back(setting.text());
  }
  for (const auto& [key, value] : settings) {
    const std::string where = fmt::format("{} {}={}", option, printable(key), printable(value));
    const auto found =
        std::find_if(known.begin(), known.end(), [&key = key](const KnownSetting& s) { return s.key == key; });
    if (found == known.end()) {
      return fail(
          ErrorCode::kUsage, where, fmt::format("{} has no setting '{}'", printable(engine), printable(key)),
          known.empty() ? "it has none" : fmt::format("{}it has {}", did_you_mean(key, keys), fmt::join(texts, ", ")));
    }
    if (!accepts(*found, value)) {
      return fail(ErrorCode::kUsage, where, fmt::format("'{}' is no value of {}", printable(value), key),
                  fmt::format("{}its values: {}", did_you_mean(value, found->values),
                              found->values.empty() ? fmt::format("{} to {}", found->low, found->high)
                                                    : fmt::format("{}", fmt::join(found->values, ", "))));
    }
  }
  return {};
}

std::string settings_text(const Settings& settings) {
  std::string text;
  for (const auto& [key, value] : settings) {
    text += fmt::format("{}{}={}", text.empty() ? "" : ", ", key, value);
  }
  return text;
}

}  // namespace tern::peer
