// JSON as the whole project uses it: nlohmann's, with keys in the order written, and errors instead of exceptions.
// (The 9 MB tokenizer.json is read with simdjson, in tokenizer/.)
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"

namespace tern {

using Json = nlohmann::ordered_json;

// `where` names the source in the error ("pack.json", "trace.jsonl line 7"). Errors: kInvalidInput, with the byte
// offset. Nesting deeper than 64 and more than 20,000 keys are refused (a hostile file could exhaust stack or time).
Result<Json> parse_json(std::string_view text, const std::string& where);
// The same as parse_json(), for what engines write: NaN, Infinity and -Infinity, which Python's json writes and JSON
// does not have, are read as null.
Result<Json> parse_json_with_nan(std::string_view text, const std::string& where);
Result<Json> read_json_file(const std::filesystem::path& path, uint64_t max_bytes = uint64_t{256} << 20);

// Typed look-ups in an object from the outside. A missing key, a wrong type or a number out of range is an error that
// names the key.
Result<std::string> json_string(const Json& object, const char* key, const std::string& where);
Result<int64_t> json_integer(const Json& object, const char* key, const std::string& where, int64_t low, int64_t high);
Result<std::vector<int32_t>> json_token_ids(const Json& object, const char* key, const std::string& where);

// One line, UTF-8; invalid UTF-8 in strings becomes U+FFFD. NaN and infinity become null.
std::string to_json_line(const Json& value);
// Indented by two, with a final newline.
std::string to_json_text(const Json& value);

// A JSON number, or null where the figure was not measured or is not finite.
Json json_number(double value);

}  // namespace tern
