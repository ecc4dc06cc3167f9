// Everything one sweep found out, as plain data: sweep/ fills it in, report/ writes it out. report/ reads nothing else.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tern/outcome/facts.h"
#include "tern/outcome/reference_check.h"
#include "tern/outcome/scenario_outcome.h"

namespace tern::outcome {

// What a resumed sweep has taken over from the one that was interrupted.
struct Resumption {
  struct Section {
    std::string name;                     // a scenario's, or "reference check"
    std::vector<std::string> taken_over;  // its engine runs that had ended, by their folders' names: "rs-run"
    size_t n_run = 0;                     // engine runs that were left to be done
  };
  std::vector<Section> sections;
  std::vector<std::string> run_again;  // runs that could not be taken over, and why
};

struct SweepOutcome {
  std::string tern_version;
  std::string timestamp;  // start, UTC, ISO 8601
  double wall_s = 0;
  std::filesystem::path output_dir;
  std::vector<std::string> command;  // that was typed
  ReproCommand repro;
  ModelFacts model;
  TokenizerFacts tokenizer;
  EngineFacts subject, reference;
  bool reference_required = false;
  double timeout_s = 180;
  std::map<std::string, std::string> environment;       // variables that matter, CPU, OS, compiler
  std::optional<ReferenceCheckResult> reference_check;  // where the reference was checked before the sweep
  std::optional<Resumption> resumed;                    // where --resume was given
  std::vector<ScenarioOutcome> scenarios;
};

// The exit code of the whole sweep: that of the scenario whose code outranks the others' (status.h).
int exit_code(const SweepOutcome& sweep);

}  // namespace tern::outcome
