#include "tern/app/tokenize.h"

#include <iostream>
#include <memory>

#include "tern/cli/command.h"

namespace tern::cli {
namespace {

Result<int> tokenize(const app::TokenizeOptions& options) {
  TERN_RETURN_IF_ERROR(app::tokenize(options, std::cin, std::cout));
  return 0;
}

}  // namespace

void add_tokenize(Command& app, Action& action) {
  auto options = std::make_shared<app::TokenizeOptions>();
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
  command->callback([options, &action] { action = [options] { return tokenize(*options); }; });
}

}  // namespace tern::cli
