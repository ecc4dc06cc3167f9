// Which of the settings that differ between a good and a bad run make the difference: the search of `tern bisect
// settings`.
#pragma once

#include <string>
#include <vector>

#include "tern/app/bisect_trial.h"
#include "tern/base/error.h"
#include "tern/base/interrupt.h"

namespace tern::app {

struct VariedSetting {
  std::string name, good, bad;
};

// "NAME=GOOD,BAD". Errors: kUsage: another form, twice the same value, a name that tern sets for every run.
Result<VariedSetting> parse_varied_setting(const std::string& text);

// A name is, in this order: model, tokenizer or threads of the run; a {place} of the subject's command; a setting of
// the subject (peer::KnownSetting); an environment variable. Without a reference, what the subject computes with all
// settings good is one. Errors: those of Trials and find_changes().
Result<Found> find_settings(const std::vector<VariedSetting>& settings, const TrialOptions& options,
                            const Interrupt& interrupt);

}  // namespace tern::app
