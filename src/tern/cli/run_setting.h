// Options that commands share which run engines: how many threads, for how long, how the head is read, and whether the
// oracle is asked. What the choices hold is their default.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "tern/base/error.h"
#include "tern/base/interrupt.h"
#include "tern/cli/third_opinion.h"
#include "tern/compare/compare_runs.h"
#include "tern/engine/session.h"
#include "tern/peer/peer.h"

namespace tern::cli {

struct RunSettingOptions {
  std::string threads, timeout;  // as text: checked together with the environment's values
};
// --threads and --timeout.
void add_run_setting_options(CLI::App& command, RunSettingOptions& options);
// With RAYON_NUM_THREADS and CROSSVAL_TIMEOUT_SECS where the options are not given; model and tokenizer are the
// caller's. Errors: kUsage.
Result<peer::RunSetting> run_setting(const RunSettingOptions& options);

// Of commands that judge engines on one prompt, by default on the bundled model.
struct OnePromptOptions {
  std::string model = TERN_BUNDLED_MODEL_DIR "/tern-tiny-i2_s.gguf";
  std::string tokenizer = TERN_BUNDLED_MODEL_DIR "/tokenizer.json";
  std::string prompt = "Count: 1,2,3,";
  RunSettingOptions setting;
  bool json = false;
};
// --model, --tokenizer, --prompt, --threads, --timeout and --json.
void add_one_prompt_options(CLI::App& command, OnePromptOptions& options);
// Errors: kUsage; those of a model or tokenizer that cannot be read.
Result<peer::RunSetting> run_setting(const OnePromptOptions& options, const Interrupt& interrupt);

// Of --exact and --tolerant.
compare::Exactness exactness_of(bool exact, bool tolerant);

// --head-copy auto|always|never
void add_head_copy_option(CLI::App& command, engine::HeadCopy& head_copy);

// --oracle auto|always|never
void add_oracle_option(CLI::App& command, AskOracle& ask);
// The word for it.
std::string oracle_word(AskOracle ask);

}  // namespace tern::cli
