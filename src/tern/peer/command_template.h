// The command line of another engine, with places for what changes from run to run. No shell is involved: a prompt
// is one argument whatever it holds.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/peer/settings.h"

namespace tern::peer {

// Values by place, without its braces: those of known_places(), and the engine's own settings. Lists of ids are
// "1,2,3"; what a run does not have is empty.
using Placeholders = std::map<std::string, std::string, std::less<>>;

// The places that tern fills in: "model", "prompt", "out", ..., and each ability with a value (abilities.h).
std::vector<std::string> known_places();

// Splits as a shell would: blanks separate, '...' is literal, in "..." and outside of quotes \ escapes. `where` names
// the option in errors. Errors: kUsage: an open quote, an empty command.
Result<std::vector<std::string>> split_command(std::string_view text, const std::string& where);

class CommandTemplate {
 public:
  // Splits as split_command() does. A command without any placeholder is an engine that keeps to the engine contract
  // (docs/trace-format.md): --model M --tokenizer T --prompt P --max-tokens N --threads K --out DIR are appended to it.
  // The keys of `settings` are placeholders, too. Errors: those of split_command(); kUsage: an unknown {placeholder}.
  static Result<CommandTemplate> parse(std::string_view text, const std::string& where, const Settings& settings = {});
  // From words as they are.
  explicit CommandTemplate(std::vector<std::string> words) : words_(std::move(words)) {}

  // The same command with `--token-ids {token_ids}` where it has `--prompt {prompt}` or `--prompt={prompt}`.
  CommandTemplate by_token_ids() const;

  std::vector<std::string> fill(const Placeholders& values) const;

  // Whether the command says where to write the engine contract's files ({out}).
  bool uses(std::string_view placeholder) const;
  // Whether it was written without any placeholder, see parse().
  bool speaks_engine_contract() const { return speaks_engine_contract_; }
  const std::vector<std::string>& words() const { return words_; }

 private:
  std::vector<std::string> words_;
  bool speaks_engine_contract_ = false;
};

}  // namespace tern::peer
