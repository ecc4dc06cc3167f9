#include "tern/cli/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

namespace tern::cli {
namespace {

// An option that takes one of `words`; what `choice` holds is its default.
template <class Choice>
void add_choice(Command& command, const std::string& name, Choice& choice, const std::map<std::string, Choice>& words,
                const std::string& help) {
  const auto preset =
      std::find_if(words.begin(), words.end(), [&](const auto& entry) { return entry.second == choice; });
  std::vector<std::string> names;
  for (const auto& [word, meaning] : words) {
    names.push_back(word);
  }
  command
      .add_option(
          name, [&choice, words](const std::string& word) { choice = words.at(word); }, help)
      ->check(one_of(names))
      ->default_str(preset->first);
}

}  // namespace

void add_run_setting_options(Command& command, app::RunSettingOptions& options) {
  command.add_option("--threads", options.threads, "Threads of each engine [RAYON_NUM_THREADS, else 4]");
  command.add_option("--timeout", options.timeout, "Seconds for each engine run [CROSSVAL_TIMEOUT_SECS, else 180]");
}

void add_one_prompt_options(Command& command, app::OnePromptOptions& options) {
  command.add_option("--model", options.model, "The GGUF file")->capture_default_str();
  command.add_option("--tokenizer", options.tokenizer, "tokenizer.json, or a GGUF")->capture_default_str();
  command.add_option("--prompt", options.prompt, "What all engines are given")->capture_default_str();
  add_run_setting_options(command, options.setting);
  command.add_flag("--json", options.json, "Everything as JSON");
}

void add_head_copy_option(Command& command, engine::HeadCopy& head_copy) {
  using enum engine::HeadCopy;
  add_choice<engine::HeadCopy>(command, "--head-copy", head_copy,
                               {{"auto", kWhenWorthIt}, {"always", kAlways}, {"never", kNever}},
                               "Whether greedy steps look through an int8 copy of the head first (the same tokens, "
                               "faster): auto (from 64 tokens on), always, never. Only where neither "
                               "logits nor traces are recorded");
}

void add_oracle_option(Command& command, app::AskOracle& ask) {
  add_choice<app::AskOracle>(
      command, "--oracle", ask, app::oracle_words(),
      "Ask the third opinion, a plain evaluation in double precision, which side is wrong: auto (where the model is "
      "small enough for it to take seconds; otherwise as near), always, near (only about the layer in which two sides "
      "first differ), never");
}

void add_level_option(Command& command, std::optional<trace::Level>& level) {
  std::vector<std::string> names;
  for (const trace::Level known : trace::kLevels) {
    names.emplace_back(trace::level_name(known));
  }
  command
      .add_option(
          "--level", [&level](const std::string& name) { level = trace::parse_level(name); },
          "What must be compared for a pass: tokens; logits, too; tensors, too. What is there beyond that is compared "
          "all the same, and a difference of it counts")
      ->check(one_of(names))
      ->default_str("tensors, or the lower level that a side states");
}

void add_setting_option(Command& command, const std::string& option, std::vector<std::string>& settings) {
  command
      .add_option(
          option + "-option", settings,
          "A setting of that engine, KEY=VALUE; may be given several times. llama.cpp's family: "
          "flash_attention, cache_type_k, cache_type_v, ubatch, threads, cpu_variant; tern: isa, threads, ubatch; "
          "of a command, its own {places}")
      ->allow_extra_args(false);
}

void add_trial_options(Command& command, app::TrialOptions& options) {
  command.add_option("--tokenizer", options.tokenizer,
                     "The tokenizer.json [the one beside the model, else the GGUF's own vocabulary]");
  command.add_option("--reference", options.reference,
                     "What to hold it against, in the forms of tern sweep [what the subject computes at the good end]");
  add_setting_option(command, "--subject", options.subject_settings);
  add_setting_option(command, "--reference", options.reference_settings);
  auto* prompt = command.add_option("--prompt", options.prompt, "What to compute")->capture_default_str();
  command.add_option("--token-ids", options.token_ids, "The prompt's token ids instead: 1,2,3")
      ->delimiter(',')
      ->excludes(prompt);
  command.add_option("--max-tokens", options.max_tokens, "Tokens to generate")
      ->check(in_range(1, 1 << 20))
      ->capture_default_str();
  add_run_setting_options(command, options.setting);
  auto* exact = command.add_flag("--exact", options.exact, "A single different bit is bad");
  command.add_flag("--tolerant", options.tolerant, "Only what is outside of the tolerances is bad")->excludes(exact);
  command
      .add_option("--crash-is", options.crash_is,
                  "What a subject that crashes or does not end in time is: skip (it says nothing), bad")
      ->check(one_of({"skip", "bad"}))
      ->capture_default_str();
}

}  // namespace tern::cli
