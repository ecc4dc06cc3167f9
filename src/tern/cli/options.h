// Options that several commands take. What a struct holds before parsing is the default that --help shows.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tern/app/bisect_trial.h"
#include "tern/app/run_setting.h"
#include "tern/cli/command_line.h"
#include "tern/engine/session.h"
#include "tern/trace/level.h"
#include "tern/trace/stage.h"

namespace tern::cli {

// --threads and --timeout.
void add_run_setting_options(Command& command, app::RunSettingOptions& options);
// --model, --tokenizer, --prompt, --threads, --timeout and --json.
void add_one_prompt_options(Command& command, app::OnePromptOptions& options);
// --head-copy auto|always|never
void add_head_copy_option(Command& command, engine::HeadCopy& head_copy);
// --oracle auto|always|near|never
void add_oracle_option(Command& command, app::AskOracle& ask);
// --level tokens|logits|tensors
void add_level_option(Command& command, std::optional<trace::Level>& level);
// `option`-option KEY=VALUE, for "--subject" or "--reference"; may be given several times.
void add_setting_option(Command& command, const std::string& option, std::vector<std::string>& settings);
// All of TrialOptions but --model and --subject, which not every command has.
void add_trial_options(Command& command, app::TrialOptions& options);

}  // namespace tern::cli
