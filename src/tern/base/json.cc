#include "tern/base/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "tern/base/file.h"

namespace tern {

namespace {

constexpr size_t kMaxKeys = 20000;  // Json compares a new key with every key that its object has

}  // namespace

Result<Json> parse_json(std::string_view text, const std::string& where) {
  constexpr int kMaxDepth = 64;
  bool too_deep = false;
  size_t n_keys = 0;
  const Json::parser_callback_t limit = [&](int depth, Json::parse_event_t event, Json&) {
    too_deep = too_deep || depth > kMaxDepth;
    n_keys += event == Json::parse_event_t::key ? 1 : 0;
    return !too_deep && n_keys <= kMaxKeys;
  };
  try {
    Json value = Json::parse(text, limit);
    if (too_deep) {
      return invalid_input(where, fmt::format("JSON is nested deeper than {}", kMaxDepth));
    }
    if (n_keys > kMaxKeys) {
      return invalid_input(where, fmt::format("JSON holds more than {} keys", kMaxKeys));
    }
    return value;
  } catch (const Json::parse_error& error) {
    return invalid_input(fmt::format("{} @ byte {}", where, error.byte), "is not valid JSON");
  } catch (const Json::exception& error) {
    return invalid_input(where, std::string("is not valid JSON: ") + error.what());
  }
}

Result<Json> parse_json_with_nan(std::string_view text, const std::string& where) {
  constexpr std::array<std::string_view, 3> kNoNumbers = {"NaN", "Infinity", "-Infinity"};
  constexpr std::string_view kDelimiters = ",:[]{} \t\r\n";
  auto plain = parse_json(text, where);
  if (plain) {
    return plain;
  }
  std::string out;
  bool in_string = false;
  for (size_t i = 0; i < text.size();) {
    const std::string_view rest = text.substr(i);
    const bool begins_a_value = !in_string && (i == 0 || kDelimiters.find(text[i - 1]) != std::string_view::npos);
    const auto* const word = std::find_if(kNoNumbers.begin(), kNoNumbers.end(), [&](std::string_view no_number) {
      return begins_a_value && rest.starts_with(no_number) &&
             (rest.size() == no_number.size() || kDelimiters.find(rest[no_number.size()]) != std::string_view::npos);
    });
    if (word != kNoNumbers.end()) {
      out += "null";
      i += word->size();
      continue;
    }
    const size_t n = in_string && text[i] == '\\' ? std::min<size_t>(2, rest.size()) : 1;
    in_string = in_string != (text[i] == '"');
    out += rest.substr(0, n);
    i += n;
  }
  return out == text ? plain : parse_json(out, where);
}

Result<Json> read_json_file(const std::filesystem::path& path, uint64_t max_bytes) {
  TERN_ASSIGN_OR_RETURN(const std::string text, read_file(path, max_bytes));
  return parse_json(text, path.string());
}

namespace {

Result<const Json*> member(const Json& object, const char* key, const std::string& where) {
  if (!object.is_object()) {
    return invalid_input(where, "is not a JSON object");
  }
  const auto it = object.find(key);
  if (it == object.end()) {
    return invalid_input(where, fmt::format("has no key \"{}\"", key));
  }
  return &*it;
}

// Reads an integer in [low, high] without ever converting out of range.
bool integer_in_range(const Json& value, int64_t low, int64_t high, int64_t* out) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(INT64_MAX)) {
      return false;
    }
    *out = static_cast<int64_t>(number);
  } else if (value.is_number_integer()) {
    *out = value.get<int64_t>();
  } else {
    return false;
  }
  return *out >= low && *out <= high;
}

}  // namespace

Result<std::string> json_string(const Json& object, const char* key, const std::string& where) {
  TERN_ASSIGN_OR_RETURN(const Json* value, member(object, key, where));
  if (!value->is_string()) {
    return invalid_input(where, fmt::format("key \"{}\" is not a string", key));
  }
  return value->get<std::string>();
}

Result<int64_t> json_integer(const Json& object, const char* key, const std::string& where, int64_t low, int64_t high) {
  TERN_ASSIGN_OR_RETURN(const Json* value, member(object, key, where));
  int64_t number = 0;
  if (!integer_in_range(*value, low, high, &number)) {
    return invalid_input(where, fmt::format("key \"{}\" is not an integer from {} to {}", key, low, high));
  }
  return number;
}

Result<std::vector<int32_t>> json_token_ids(const Json& object, const char* key, const std::string& where) {
  TERN_ASSIGN_OR_RETURN(const Json* value, member(object, key, where));
  if (!value->is_array()) {
    return invalid_input(where, fmt::format("key \"{}\" is not an array of token ids", key));
  }
  std::vector<int32_t> ids;
  ids.reserve(value->size());
  for (const Json& element : *value) {
    int64_t id = 0;
    if (!integer_in_range(element, 0, INT32_MAX, &id)) {
      return invalid_input(where, fmt::format("key \"{}\" holds something that is not a token id", key));
    }
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

std::string to_json_line(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string to_json_text(const Json& value) { return value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

Json json_number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

}  // namespace tern
