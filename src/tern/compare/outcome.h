// Everything one sweep found out, as plain data: sweep/ fills it in, report/ writes it out. report/ sees nothing else.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tern/compare/arbitration.h"
#include "tern/compare/compare_runs.h"
#include "tern/trace/run_folder.h"

namespace tern::compare {

// How one engine's process went.
struct Execution {
  std::vector<std::string> command;                // empty: nothing was run (a pack)
  std::map<std::string, std::string> environment;  // what was set for it
  std::optional<int> exit_code;                    // absent if it was killed or never started
  std::optional<int> signal;
  bool timed_out = false;
  bool ended_at_difference = false;  // it was ended there, before its time (SweepPlan::stop_at_divergence)
  double timeout_s = 0;
  double wall_s = 0;
  std::optional<uint64_t> peak_rss_bytes;
  std::string failure;                     // one sentence; empty if it ended well and its files could be read
  std::optional<std::string> last_tensor;  // where it was when it failed, if it had traced anything
  bool ok() const { return failure.empty(); }
};

enum class ParityStatus {
  kOk,        // held against the reference, and no divergence
  kRustOnly,  // no reference (the mission's name for it)
  kDiverged,
  kReferenceFailed,
  kMistrusted,
  kSubjectFailed,
};
// "ok", "rust_only", "diverged", "reference_failed", "mistrusted", "subject_failed"
std::string_view parity_status_name(ParityStatus status);

// One question to a reference, before it is believed.
struct ReferenceCheck {
  enum class Status { kPassed, kFailed, kSkipped };
  std::string id;        // "repeatable"
  std::string question;  // "Does it give the same result twice?"
  Status status = Status::kSkipped;
  std::string evidence;  // one sentence with the figures, or why it was skipped
};
// "passed", "failed", "skipped"
std::string_view check_status_name(ReferenceCheck::Status status);

// Why a side is wrong: a fault with which the oracle, too, computes what that side did.
struct Cause {
  std::string id;    // one of the contract's cause ids; "unknown" where nothing that was tried explains it
  std::string name;  // the first wrong tensor
  double confidence = 0;
  std::string evidence;
};

struct ReferenceCheckResult {
  std::vector<ReferenceCheck> checks;
  std::optional<Cause> cause;  // where it fails against the oracle
  std::string arithmetic;      // that it was found to follow bit for bit; empty: none that is known
  const ReferenceCheck* first_failed() const;
};

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
  std::optional<RunComparison> comparison;
  std::optional<SeenWhileRunning> seen_while_running;
  std::optional<Arbitration> arbitration;  // where the oracle was asked
  std::string no_arbitration;              // otherwise why not
  std::optional<Cause> cause;              // where a side is wrong
  std::filesystem::path folder;            // final place of this scenario's files
};

struct ModelFacts {
  std::string path, sha256, architecture, name;
  std::string quant_format;  // "I2_S", "F16", ...
  std::string quant_flavor;  // "bitnet.cpp", "bitnet32", "qk256", or empty
  uint64_t file_bytes = 0;
};
struct TokenizerFacts {
  std::string path, sha256, kind;
  int64_t vocab_size = 0;
  std::vector<std::string> disagreements;  // with the GGUF's own vocabulary
};
struct ReferenceFacts {
  std::string kind;    // "none", "pack", ...
  std::string spec;    // as given or found: "pack:models/tern-tiny/reference"
  std::string engine;  // what it says of itself
  std::string id;      // of a pack
  std::string note;    // e.g. why there is none, or that the model check was overridden
  Json details;        // free-form facts (null if none)
};

// The sweep as a command that works from anywhere, for reproducing one of its scenarios. The reports add an output
// directory beside `output_dir` and --only.
struct ReproCommand {
  std::filesystem::path working_dir;               // to go to first; empty: any will do
  std::map<std::string, std::string> environment;  // what was set that changes results
  std::vector<std::string> command;                // without output directory and --only; empty: not known
  std::filesystem::path output_dir;                // of the sweep that is reproduced, absolute
};

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
  ReferenceFacts reference;
  bool reference_required = false;
  double timeout_s = 180;
  std::map<std::string, std::string> environment;       // variables that matter, CPU, OS, compiler
  std::optional<ReferenceCheckResult> reference_check;  // where the reference was checked before the sweep
  std::optional<Resumption> resumed;                    // where --resume was given
  std::vector<ScenarioOutcome> scenarios;
};

// The contract's exit code for the whole sweep: an engine's failure (4) outranks mistrust (5), which outranks
// divergence (1).
int exit_code(const SweepOutcome& outcome);

}  // namespace tern::compare
