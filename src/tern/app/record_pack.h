// A pack of what a live engine computes: each scenario is run, checked against what was requested, and kept.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tern/app/run_setting.h"
#include "tern/base/error.h"
#include "tern/base/interrupt.h"
#include "tern/trace/pack.h"

namespace tern::app {

struct RecordPackOptions {
  std::string reference, model, tokenizer, out, scenarios, arithmetic;
  std::vector<std::string> settings;  // of the engine, "KEY=VALUE"
  RunSettingOptions setting;
  trace::PackContents contents = {.values = false};
};

// Progress goes to the log. nullopt: interrupted, and nothing was written. Errors: kUsage for an engine that cannot be
// recorded or does not take what a scenario gives; kEngine where a run failed, or its result.json differs from the
// request; kIo.
Result<std::optional<trace::Pack>> record_pack(const RecordPackOptions& options, const Interrupt& interrupt);

}  // namespace tern::app
