// What commands that run engines share: how many threads, for how long, on which model and prompt, and whether the
// oracle is asked. The members' initial values are the defaults.
#pragma once

#include <map>
#include <string>

#include "tern/app/build_facts.h"
#include "tern/app/third_opinion.h"
#include "tern/base/error.h"
#include "tern/base/interrupt.h"
#include "tern/compare/compare_runs.h"
#include "tern/peer/peer.h"

namespace tern::app {

struct RunSettingOptions {
  std::string threads, timeout;  // as text: checked together with the environment's values
};
// With RAYON_NUM_THREADS and CROSSVAL_TIMEOUT_SECS where the options are not given; model and tokenizer are the
// caller's. Errors: kUsage.
Result<peer::RunSetting> run_setting(const RunSettingOptions& options);

// The options of commands that judge engines on one prompt, by default on the bundled model.
struct OnePromptOptions {
  std::string model = bundled_model();
  std::string tokenizer = bundled_tokenizer();
  std::string prompt = "Count: 1,2,3,";
  RunSettingOptions setting;
  bool json = false;
};
// Errors: kUsage; those of a model or tokenizer that cannot be read.
Result<peer::RunSetting> run_setting(const OnePromptOptions& options, const Interrupt& interrupt);

// What --exact and --tolerant demand together.
compare::Exactness exactness_of(bool exact, bool tolerant);

// The values of --oracle: auto, always, near, never.
const std::map<std::string, AskOracle>& oracle_words();
// The word for `ask`.
std::string oracle_word(AskOracle ask);

}  // namespace tern::app
