#include "tern/app/tokenize.h"

#include <spdlog/spdlog.h>

#include <istream>
#include <iterator>
#include <ostream>
#include <vector>

#include "tern/base/json.h"
#include "tern/tokenizer/tokenizer.h"

namespace tern::app {
namespace {

Result<std::vector<int32_t>> ids_of_json(const Json& value, const std::string& where) {
  if (!value.is_array()) {
    return invalid_input(where, "is not a JSON array of token ids");
  }
  std::vector<int32_t> ids;
  for (const Json& item : value) {
    if (!item.is_number_integer() || item < 0 || item > INT32_MAX) {
      return invalid_input(where, "number " + std::to_string(ids.size()) + " is not a token id");
    }
    ids.push_back(item.get<int32_t>());
  }
  return ids;
}

// "text @ byte 3" -> "stdin line 7: text @ byte 3".
Error located(Error error, const std::string& where) {
  if (!error.where.starts_with(where)) {
    error.where = where + ": " + error.where;
  }
  return error;
}

Result<std::vector<int32_t>> encoded(const tokenizer::Tokenizer& tokenizer, const TokenizeOptions& options,
                                     const std::string& text, const std::string& where) {
  return tokenizer.encode(text, !options.no_special).map_error([&](const Error& error) {
    return located(error, where);
  });
}

// `ids`: a JSON array.
Result<std::string> decoded(const tokenizer::Tokenizer& tokenizer, const TokenizeOptions& options, const Json& ids,
                            const std::string& where) {
  TERN_ASSIGN_OR_RETURN(const std::vector<int32_t> numbers, ids_of_json(ids, where));
  return tokenizer.decode(numbers, !options.no_special).map_error([&](const Error& error) {
    return located(error, where);
  });
}

Status convert_lines(const tokenizer::Tokenizer& tokenizer, const TokenizeOptions& options, std::istream& in,
                     std::ostream& out) {
  std::string line;
  for (int64_t number = 1; std::getline(in, line); ++number) {
    const std::string where = "stdin line " + std::to_string(number);
    TERN_ASSIGN_OR_RETURN(const Json value, parse_json(line, where));
    if (options.decode) {
      TERN_ASSIGN_OR_RETURN(const std::string text, decoded(tokenizer, options, value, where));
      out << to_json_line(Json(text)) << '\n';
      continue;
    }
    if (!value.is_string()) {
      return invalid_input(where, "is not a JSON string");
    }
    TERN_ASSIGN_OR_RETURN(const auto ids, encoded(tokenizer, options, value.get_ref<const std::string&>(), where));
    out << to_json_line(Json(ids)) << '\n';
  }
  return {};
}

Status convert_all(const tokenizer::Tokenizer& tokenizer, const TokenizeOptions& options, std::istream& in,
                   std::ostream& out) {
  const std::string input{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (options.decode) {
    TERN_ASSIGN_OR_RETURN(const Json value, parse_json(input, "stdin"));
    TERN_ASSIGN_OR_RETURN(const std::string text, decoded(tokenizer, options, value, "stdin"));
    out << text;
    return {};
  }
  TERN_ASSIGN_OR_RETURN(const auto ids, encoded(tokenizer, options, input, "stdin"));
  out << to_json_line(Json(ids)) << '\n';
  return {};
}

}  // namespace

Status tokenize(const TokenizeOptions& options, std::istream& in, std::ostream& out) {
  TERN_ASSIGN_OR_RETURN(const auto tokenizer, tokenizer::Tokenizer::open(options.tokenizer));
  for (const std::string& warning : tokenizer.warnings()) {
    spdlog::warn("{}", printable(warning, 1000));
  }
  const Status converted =
      options.jsonl ? convert_lines(tokenizer, options, in, out) : convert_all(tokenizer, options, in, out);
  out.flush();
  TERN_RETURN_IF_ERROR(converted);
  return out ? Status() : fail(ErrorCode::kIo, "stdout", "cannot be written");
}

}  // namespace tern::app
