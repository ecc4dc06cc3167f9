#include "tern/cli/run_setting.h"

#include <algorithm>
#include <map>

#include "tern/base/environment.h"
#include "tern/sweep/environment.h"

namespace tern::cli {

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

void add_head_copy_option(CLI::App& command, engine::HeadCopy& head_copy) {
  using enum engine::HeadCopy;
  static const std::map<std::string, engine::HeadCopy> kWords = {
      {"auto", kWhenWorthIt}, {"always", kAlways}, {"never", kNever}};
  const auto default_word =
      std::find_if(kWords.begin(), kWords.end(), [&](const auto& entry) { return entry.second == head_copy; });
  command
      .add_option_function<std::string>(
          "--head-copy", [&head_copy](const std::string& word) { head_copy = kWords.at(word); },
          "Whether greedy steps look through an int8 copy of the head first (the same tokens, faster): auto (from 64 "
          "tokens on), always, never. Only where nobody wants logits or traces")
      ->check(CLI::IsMember(kWords))
      ->default_str(default_word->first);
}

void add_oracle_option(CLI::App& command, AskOracle& ask) {
  static const std::map<std::string, AskOracle> kWords = {
      {"auto", AskOracle::kAuto}, {"always", AskOracle::kAlways}, {"never", AskOracle::kNever}};
  command
      .add_option_function<std::string>(
          "--oracle", [&ask](const std::string& word) { ask = kWords.at(word); },
          "Ask the third opinion, a plain evaluation in double precision, which side is wrong: auto (where the model "
          "is "
          "small enough for it to take seconds), always, never")
      ->check(CLI::IsMember(kWords))
      ->default_str("auto");
}

}  // namespace tern::cli
