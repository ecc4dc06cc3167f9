// The cross-validation sweep: every scenario through the subject and the reference, the two held against each other,
// and everything kept as evidence. It runs engines through peer/ and judges through compare/; it has no engine of its
// own and prints nothing.
//
// <output_dir>/<scenario>/
//   rs-traces/*.trace, rs-output.txt       the subject's traces, and what it printed
//   rs-run/                                the subject's result.json, trace.jsonl, logits.safetensors and, where it
//                                          was asked for values, tensors.safetensors: for `tern compare` and
//                                          `tern pack create`
//   cpp-traces/*.trace, cpp-output.txt     the reference's; absent without a reference
//   cpp-run/                               the same for a reference that ran (a pack keeps its own)
//   rs-forced-run/, rs-forced-traces/      the subject again, fed the reference's tokens; only where their own differ
//   rs-near-run/                           the subject again, with the values around the first difference: where a
//                                          model is too large for the oracle as a whole
//   cpp-near-run/, oracle-near/            the reference likewise, where it had no values and may be the wrong side,
//   and
//                                          what the oracle computed from them
//   rs-on-reference-inputs-run/            the subject again, each stage computed from what the reference recorded of
//                                          those before it; only where they differ (or cpp-on-subject-inputs-run/)
//   oracle-run/                            what the oracle computed on the same tokens, where it was asked
//   report.txt, logits-comparison.json     by the caller's ReportWriter
#pragma once

#include <filesystem>
#include <functional>
#include <string_view>
#include <vector>

#include "tern/arbiter/arbiter.h"
#include "tern/base/error.h"
#include "tern/base/interrupt.h"
#include "tern/outcome/sweep_outcome.h"
#include "tern/peer/peer.h"
#include "tern/sweep/kept_runs.h"
#include "tern/sweep/output_folder.h"

namespace tern::sweep {

struct SweepPlan : peer::RunSetting {
  SweepPlan() = default;
  explicit SweepPlan(const peer::RunSetting& setting) : RunSetting(setting) {}

  std::vector<outcome::Scenario> scenarios;
  compare::CompareOptions compare;
  const peer::Peer* subject = nullptr;    // never null
  const peer::Peer* reference = nullptr;  // null: none
  // Arbitrates between the sides. Null: it does not, and why_no_oracle has the reason.
  const arbiter::OracleEngines* oracle = nullptr;
  std::string why_no_oracle;
  // Where the model is too large for the oracle as a whole: computes only the neighbourhood of the first difference.
  // Null: not even that.
  const arbiter::OracleEngines* close_look = nullptr;
  // Whether it is known, before they run, that both sides must be equal bit for bit. Then each difference is seen while
  // they run; otherwise those of the prefill that are beyond the tolerance of an RMS.
  bool equal_bits = false;
  // The engine is ended where it first differs from the other side, and only what is up to there is compared.
  bool stop_at_divergence = false;
  bool all_stages = false;    // record every node of the graphs of engines that can
  bool dump_tensors = false;  // keep the values of all tensors of engines that can
  // Why agreement with the reference proves nothing: it failed its own checks. Empty: it passed them, or had none.
  std::string reference_distrust;
  // Whether the tokenizer and the model's own vocabulary encode alike: evidence where the sides' prompt ids differ.
  std::vector<std::string> tokenizers_differ;
  // Keeps the peers' runs. Null: they are not kept.
  KeptRuns* kept_runs = nullptr;
};

// Gets the progress of a sweep, from the thread that sweeps.
class Progress {
 public:
  virtual ~Progress() = default;
  // `side`: "subject", "reference", "subject, fed the reference's tokens", or "oracle".
  virtual void started(size_t index, const outcome::Scenario& scenario, std::string_view side) = 0;
  // The side that runs has traced a tensor that differs from the other side's, the first in execution order.
  virtual void differs(const trace::TensorId& first, double elapsed_s) = 0;
  // About ten times a second while an engine runs.
  virtual void running(double elapsed_s, const std::filesystem::path& trace_folder) = 0;
  virtual void finished(size_t index, const outcome::ScenarioOutcome& outcome) = 0;
};

// Writes a scenario's report.txt and logits-comparison.json into `folder`, before it is renamed to outcome.folder.
// The SweepOutcome holds what is known about the sweep as a whole; its list of scenarios is not complete yet.
using ReportWriter = std::function<Status(const outcome::SweepOutcome& sweep, const outcome::ScenarioOutcome& outcome,
                                          const std::filesystem::path& folder)>;

// Runs the plan and appends to outcome.scenarios, failures of engines included; the caller has filled in the rest of
// `outcome`. Errors: kIo, and then the current scenario leaves nothing behind. When interrupted, it returns after the
// scenarios that were whole.
Status run_sweep(const SweepPlan& plan, OutputFolder& output, const ReportWriter& write_reports, Progress& progress,
                 outcome::SweepOutcome& outcome);

}  // namespace tern::sweep
