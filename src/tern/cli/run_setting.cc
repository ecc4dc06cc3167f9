#include "tern/cli/run_setting.h"

#include <algorithm>
#include <map>

#include "tern/base/environment.h"
#include "tern/cli/opened_model.h"
#include "tern/sweep/environment.h"

namespace tern::cli {
namespace {

// An option that takes one of `words`; what `choice` holds is its default.
template <class Choice>
void add_choice(CLI::App& command, const std::string& name, Choice& choice, const std::map<std::string, Choice>& words,
                const std::string& help) {
  const auto preset =
      std::find_if(words.begin(), words.end(), [&](const auto& entry) { return entry.second == choice; });
  command
      .add_option_function<std::string>(
          name, [&choice, words](const std::string& word) { choice = words.at(word); }, help)
      ->check(CLI::IsMember(words))
      ->default_str(preset->first);
}

const std::map<std::string, AskOracle>& oracle_words() {
  using enum AskOracle;
  static const std::map<std::string, AskOracle> words = {
      {"auto", kAuto}, {"always", kAlways}, {"near", kNear}, {"never", kNever}};
  return words;
}

}  // namespace

void add_run_setting_options(CLI::App& command, RunSettingOptions& options) {
  command.add_option("--threads", options.threads, "Threads of each engine [RAYON_NUM_THREADS, else 4]");
  command.add_option("--timeout", options.timeout, "Seconds for each engine run [CROSSVAL_TIMEOUT_SECS, else 180]");
}

Result<peer::RunSetting> run_setting(const RunSettingOptions& options) {
  const auto or_null = [](const std::string& option) { return option.empty() ? nullptr : option.c_str(); };
  peer::RunSetting setting;
  TERN_ASSIGN_OR_RETURN(setting.threads,
                        sweep::thread_count(or_null(options.threads), environment_variable("RAYON_NUM_THREADS")));
  TERN_ASSIGN_OR_RETURN(setting.timeout_s, sweep::timeout_seconds(or_null(options.timeout),
                                                                  environment_variable("CROSSVAL_TIMEOUT_SECS")));
  return setting;
}

void add_one_prompt_options(CLI::App& command, OnePromptOptions& options) {
  command.add_option("--model", options.model, "The GGUF file")->capture_default_str();
  command.add_option("--tokenizer", options.tokenizer, "tokenizer.json, or a GGUF")->capture_default_str();
  command.add_option("--prompt", options.prompt, "What all engines are given")->capture_default_str();
  add_run_setting_options(command, options.setting);
  command.add_flag("--json", options.json, "Everything as JSON");
}

Result<peer::RunSetting> run_setting(const OnePromptOptions& options, const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(peer::RunSetting setting, run_setting(options.setting));
  setting.model = options.model;
  setting.tokenizer = options.tokenizer;
  setting.interrupt = &interrupt;
  TERN_RETURN_IF_ERROR(open_model_and_tokenizer(setting.model, setting.tokenizer));
  return setting;
}

compare::Exactness exactness_of(bool exact, bool tolerant) {
  return exact ? compare::Exactness::kExact : tolerant ? compare::Exactness::kTolerant : compare::Exactness::kAuto;
}

void add_head_copy_option(CLI::App& command, engine::HeadCopy& head_copy) {
  using enum engine::HeadCopy;
  add_choice<engine::HeadCopy>(command, "--head-copy", head_copy,
                               {{"auto", kWhenWorthIt}, {"always", kAlways}, {"never", kNever}},
                               "Whether greedy steps look through an int8 copy of the head first (the same tokens, "
                               "faster): auto (from 64 tokens "
                               "on), always, never. Only where nobody wants logits or traces");
}

void add_oracle_option(CLI::App& command, AskOracle& ask) {
  add_choice<AskOracle>(
      command, "--oracle", ask, oracle_words(),
      "Ask the third opinion, a plain evaluation in double precision, which side is wrong: auto (where the model is "
      "small enough for it to take seconds; otherwise, in a sweep, as near), always, near (only about the layer in "
      "which "
      "two sides first differ), never");
}

std::string oracle_word(AskOracle ask) {
  const auto found = std::find_if(oracle_words().begin(), oracle_words().end(),
                                  [ask](const auto& entry) { return entry.second == ask; });
  return found->first;
}

}  // namespace tern::cli
