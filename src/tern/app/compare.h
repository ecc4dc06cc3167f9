// `tern compare`: two recordings, opened and judged.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tern/app/third_opinion.h"
#include "tern/arbiter/judgement.h"
#include "tern/base/interrupt.h"
#include "tern/base/json.h"

namespace tern::app {

struct CompareOptions {
  std::string subject, reference;  // a run folder, a sweep's scenario folder, or a pack
  std::string model;               // the GGUF that both ran; empty: the oracle does not arbitrate
  std::string scenario;            // of a pack; or by its prompt:
  std::optional<std::string> prompt;
  std::string tolerances;  // a TOML file
  AskOracle ask = AskOracle::kAuto;
  bool exact = false, tolerant = false;
  std::optional<trace::Level> level;       // what must be compared for a pass; absent: compare::CompareOptions' default
  std::vector<std::string> allow_missing;  // patterns of tensors that need not be compared
};

struct Recording {
  std::filesystem::path path;
  trace::EngineRun run;
};

struct Comparison {
  compare::Sided<Recording> sides;
  std::vector<std::string> notes;  // what must be known before a difference is blamed on an engine
  arbiter::Judgement judgement;    // with a comparison
  // Whether the stages mean what tern's own mean: by --model's architecture; without --model, where no side recorded a
  // node that is no known stage.
  bool is_known_graph = true;
  int exit_code = 0;
  std::string repro;  // the command as one line for a shell; empty where exit_code is 0
};

// nullopt: interrupted. Errors: kIo, kInvalidInput for what cannot be read; kUsage where a pack's scenario is not
// named, where the two sides ran different prompts, and for a pattern that matches no tensor.
Result<std::optional<Comparison>> compare_recordings(const CompareOptions& options, const Interrupt& interrupt);

// What `tern compare --json` prints (contract).
Json to_json(const Comparison& comparison);
// The same for people.
std::string to_text(const Comparison& comparison);

}  // namespace tern::app
