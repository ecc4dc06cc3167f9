// The options of `tern sweep`, and the command that repeats them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tern/app/run_setting.h"
#include "tern/base/error.h"
#include "tern/outcome/facts.h"
#include "tern/peer/peer.h"
#include "tern/trace/level.h"

namespace tern::app {

struct SweepOptions {
  std::string model, tokenizer;
  std::string output_dir = "./crossval-results";
  std::string subject = "auto", reference = "auto";
  std::vector<std::string> subject_settings, reference_settings;  // "KEY=VALUE"
  std::string reference_arithmetic;
  std::string scenarios, tolerances;
  std::optional<trace::Level> level;       // what must be compared for a pass; absent: compare::CompareOptions' default
  std::vector<std::string> allow_missing;  // patterns of tensors that need not be compared
  std::vector<std::string> only;           // names of scenarios; empty: all
  RunSettingOptions setting;
  AskOracle ask = AskOracle::kAuto;
  std::string check_reference = "auto";
  bool require_reference = false;
  bool allow_model_mismatch = false;
  bool exact = false, tolerant = false;
  std::string stages = "known";
  bool dump_tensors = false;
  bool stop_at_divergence = false;
  bool resume = false;
};

// Everything that decides over a scenario's result, with absolute paths, the engine that was found for `auto`, and the
// values that environment and defaults gave. Errors: those of own_program().
Result<outcome::ReproCommand> repro_of(const SweepOptions& options, const peer::RunSetting& setting,
                                       const outcome::EngineFacts& reference);

}  // namespace tern::app
