#include <spdlog/spdlog.h>

#include <cstdio>
#include <iostream>
#include <iterator>
#include <string>

#include "tern/base/json.h"
#include "tern/cli/command.h"
#include "tern/tokenizer/tokenizer.h"

namespace tern::cli {
namespace {

struct TokenizeOptions {
  std::string tokenizer;
  bool no_special = false;
  bool jsonl = false;
  bool decode = false;
};

Result<std::vector<int32_t>> read_ids(const Json& value, const std::string& where) {
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

// One line of JSON for one line of JSON.
Result<Json> convert(const tokenizer::Tokenizer& tokenizer, const TokenizeOptions& options, const Json& value,
                     const std::string& where) {
  if (options.decode) {
    TERN_ASSIGN_OR_RETURN(const auto ids, read_ids(value, where));
    TERN_ASSIGN_OR_RETURN(std::string text, tokenizer.decode(ids, !options.no_special));
    return Json(std::move(text));
  }
  if (!value.is_string()) {
    return invalid_input(where, "is not a JSON string");
  }
  TERN_ASSIGN_OR_RETURN(const auto ids, tokenizer.encode(value.get_ref<const std::string&>(), !options.no_special));
  return Json(ids);
}

// "text @ byte 3" -> "stdin line 7: text @ byte 3".
Error named(Error error, const std::string& where) {
  if (!error.where.starts_with(where)) {
    error.where = where + ": " + error.where;
  }
  return error;
}

Result<int> convert_lines(const tokenizer::Tokenizer& tokenizer, const TokenizeOptions& options) {
  std::string line;
  for (int64_t number = 1; std::getline(std::cin, line); ++number) {
    const std::string where = "stdin line " + std::to_string(number);
    TERN_ASSIGN_OR_RETURN(const Json value, parse_json(line, where));
    const auto converted = convert(tokenizer, options, value, where);
    if (!converted) {
      return tl::unexpected(named(converted.error(), where));
    }
    std::cout << to_json_line(*converted) << '\n';
  }
  return 0;
}

Result<int> convert_all(const tokenizer::Tokenizer& tokenizer, const TokenizeOptions& options) {
  const std::string input{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  if (!options.decode) {
    const auto ids = tokenizer.encode(input, !options.no_special);
    if (!ids) {
      return tl::unexpected(named(ids.error(), "stdin"));
    }
    std::cout << to_json_line(Json(*ids)) << '\n';
    return 0;
  }
  TERN_ASSIGN_OR_RETURN(const Json value, parse_json(input, "stdin"));
  TERN_ASSIGN_OR_RETURN(const auto ids, read_ids(value, "stdin"));
  const auto text = tokenizer.decode(ids, !options.no_special);
  if (!text) {
    return tl::unexpected(named(text.error(), "stdin"));
  }
  std::cout << *text;
  return 0;
}

Result<int> run_tokenize(const TokenizeOptions& options) {
  TERN_ASSIGN_OR_RETURN(const auto tokenizer, tokenizer::Tokenizer::open(options.tokenizer));
  for (const std::string& warning : tokenizer.warnings()) {
    spdlog::warn("{}", printable(warning, 1000));
  }
  auto code = options.jsonl ? convert_lines(tokenizer, options) : convert_all(tokenizer, options);
  std::cout.flush();
  if (code && !std::cout) {
    return fail(ErrorCode::kIo, "stdout", "cannot be written");
  }
  return code;
}

}  // namespace

void add_tokenize(Command& app, Action& action) {
  auto options = std::make_shared<TokenizeOptions>();
  Command* command = app.add_subcommand("tokenize", "Text to token ids, and back");
  command->add_option("--tokenizer", options->tokenizer, "A tokenizer.json, or a GGUF with a vocabulary")->required();
  command->add_flag("--no-special", options->no_special,
                    "Put no BOS or other special token around the text; with --decode, leave special tokens out");
  command->add_flag("--jsonl", options->jsonl,
                    "Each line of stdin is a JSON string, each line of stdout the JSON array of its ids");
  command->add_flag("--decode", options->decode, "The other way: JSON arrays of ids in, text out");
  command->footer(
      "Example: echo '\"Once upon a time\"' | tern tokenize --tokenizer models/tern-tiny/tokenizer.json --jsonl\n"
      "Without --jsonl, stdin as a whole is one text (with --decode, one array).");
  command->callback([options, &action] { action = [options] { return run_tokenize(*options); }; });
}

}  // namespace tern::cli
