#include "tern/app/run_setting.h"

#include <algorithm>
#include <map>

#include "tern/app/opened_model.h"
#include "tern/base/environment.h"
#include "tern/sweep/environment.h"

namespace tern::app {

const std::map<std::string, AskOracle>& oracle_words() {
  using enum AskOracle;
  static const std::map<std::string, AskOracle> words = {
      {"auto", kAuto}, {"always", kAlways}, {"near", kNear}, {"never", kNever}};
  return words;
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

std::string oracle_word(AskOracle ask) {
  const auto found = std::find_if(oracle_words().begin(), oracle_words().end(),
                                  [ask](const auto& entry) { return entry.second == ask; });
  return found->first;
}

}  // namespace tern::app
