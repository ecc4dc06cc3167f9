// One scenario of a sweep: what was asked for and everything that was found.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tern/compare/arbitration.h"
#include "tern/compare/compare_runs.h"
#include "tern/outcome/cause.h"
#include "tern/outcome/execution.h"
#include "tern/trace/run_folder.h"

namespace tern::outcome {

enum class ParityStatus {
  kOk,        // compared with the reference, and no divergence
  kRustOnly,  // no reference (the mission's name for it)
  kDiverged,
  kReferenceFailed,
  kMistrusted,
  kSubjectFailed,
};
// "ok", "rust_only", "diverged", "reference_failed", "mistrusted", "subject_failed"
std::string_view parity_status_name(ParityStatus status);

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
  std::string side;    // that ran: "subject" or "reference"
  double after_s = 0;  // since its start
};

struct ScenarioOutcome {
  Scenario scenario;
  ParityStatus status = ParityStatus::kSubjectFailed;
  std::string reason;  // one sentence
  Execution subject, reference;
  std::optional<trace::RunResult> subject_result, reference_result;
  size_t n_subject_traces = 0, n_reference_traces = 0;
  std::optional<size_t> logits_dim;
  std::optional<compare::RunComparison> comparison;
  std::optional<SeenWhileRunning> seen_while_running;
  std::optional<compare::Arbitration> arbitration;  // where the oracle was asked
  std::string no_arbitration;                       // otherwise why not
  std::optional<Cause> cause;                       // where a side is wrong
  std::filesystem::path folder;                     // final place of this scenario's files
};

}  // namespace tern::outcome
