// Which of the settings that differ between a good and a bad run make the difference: the search of `tern
// bisect settings`.
#pragma once

#include <string>
#include <vector>

#include "tern/app/bisect_trial.h"
#include "tern/base/error.h"
#include "tern/base/interrupt.h"
#include "tern/base/json.h"

namespace tern::app {

struct VariedSetting {
  std::string name, good, bad;
};

// "NAME=GOOD,BAD". Errors: kUsage: another form, twice the same value, a name that tern sets for every run.
Result<VariedSetting> parse_varied_setting(const std::string& text);

// A name is, in this order: model, tokenizer or threads of the run; a {place} of the subject's command; a setting of
// the subject (peer::KnownSetting); an environment variable.
struct SettingsOptions {
  TrialOptions trial;                 // its model may be empty where `settings` name one
  std::vector<std::string> settings;  // "NAME=GOOD,BAD"
};

struct FoundSettings {
  size_t n_settings = 0;               // that differ
  std::vector<VariedSetting> changes;  // of them, a smallest set that makes the run bad
  Found found;
};

// Without a reference, the subject's run with all settings good is the reference. Errors: those of
// parse_varied_setting(), Trials and find_changes(); kUsage without a model.
Result<FoundSettings> find_settings(const SettingsOptions& options, const Interrupt& interrupt);

std::string settings_text(const FoundSettings& settings);
Json to_json(const FoundSettings& settings);

}  // namespace tern::app
