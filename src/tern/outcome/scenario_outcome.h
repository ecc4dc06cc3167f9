// One scenario of a sweep: what was asked for and everything that was found.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tern/compare/arbitration.h"
#include "tern/compare/compare_runs.h"
#include "tern/outcome/cause.h"
#include "tern/outcome/execution.h"
#include "tern/outcome/status.h"
#include "tern/trace/run_folder.h"

namespace tern::outcome {

struct Scenario {
  std::string name;  // "scenario1"
  std::string prompt;
  std::vector<int32_t> token_ids;  // instead of the prompt, where there are any
  int max_tokens = 1;
  std::string description;
};

// The first tensor in execution order that differed, seen while the second side still ran.
struct SeenWhileRunning {
  trace::TensorId id;
  compare::Side side = compare::Side::kSubject;  // that ran
  double after_s = 0;                            // since its start
};

struct SideOutcome {
  Execution execution;
  std::optional<trace::RunResult> result;  // absent where it gave none, or was ended before its end
  size_t n_traces = 0;
};

struct ScenarioOutcome {
  Scenario scenario;
  ParityStatus status = ParityStatus::kSubjectFailed;
  std::string reason;                    // one sentence
  bool reference_has_no_answer = false;  // it is a recording, and has none of this scenario
  compare::Sided<SideOutcome> sides;
  std::optional<size_t> logits_dim;  // of the subject
  std::optional<compare::RunComparison> comparison;
  std::optional<SeenWhileRunning> seen_while_running;
  std::optional<compare::Arbitration> arbitration;  // where the oracle was asked
  std::string no_arbitration;                       // otherwise why not
  std::optional<Cause> cause;                       // where a side is wrong
  std::vector<std::string> notes;                   // what is odd about either side's records: sentences
  std::filesystem::path folder;                     // final place of this scenario's files
};

}  // namespace tern::outcome
