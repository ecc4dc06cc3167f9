#include "tern/sweep/sweep.h"

#include <fmt/format.h>

#include <chrono>

#include "tern/base/check.h"

namespace tern::sweep {
namespace fs = std::filesystem;
namespace {

using compare::Execution;
using compare::ParityStatus;
using compare::Scenario;
using compare::ScenarioOutcome;

bool is_interrupted(const SweepPlan& plan) { return plan.interrupt != nullptr && plan.interrupt->signal() != 0; }

// The scenario is made under another name than it will have: reports must show paths that last.
std::string with_final_path(std::string text, const fs::path& partial, const fs::path& final_path) {
  const std::string from = fs::absolute(partial).string();
  const std::string to = fs::absolute(final_path).string();
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

Execution execution_of(const peer::PeerRun& run, const SweepPlan& plan, const fs::path& partial,
                       const fs::path& final_path) {
  Execution execution;
  for (const std::string& word : run.command) {
    execution.command.push_back(with_final_path(word, partial, final_path));
  }
  for (const auto& [name, value] : run.environment) {
    execution.environment[name] = with_final_path(value, partial, final_path);
  }
  execution.timeout_s = plan.timeout_s;
  if (run.process) {
    execution.exit_code = run.process->exit_code;
    execution.signal = run.process->signal;
    execution.timed_out = run.process->timed_out;
    execution.wall_s = run.process->wall_s;
    execution.peak_rss_bytes = run.process->peak_rss_bytes;
  }
  execution.failure = with_final_path(run.failure, partial, final_path);
  execution.last_tensor = run.last_tensor;
  return execution;
}

std::string failure_sentence(std::string_view side, const Execution& execution) {
  std::string out = fmt::format("the {} {}", side, execution.failure);
  if (execution.last_tensor) {
    out += fmt::format("; the last tensor it traced is {}", *execution.last_tensor);
  }
  return out;
}

ParityStatus status_of(compare::VerdictKind verdict) {
  switch (verdict) {
    case compare::VerdictKind::kMatch:
    case compare::VerdictKind::kWithinTolerance:
      return ParityStatus::kOk;
    case compare::VerdictKind::kDiverged:
      return ParityStatus::kDiverged;
    case compare::VerdictKind::kMistrusted:
    case compare::VerdictKind::kSkipped:
    case compare::VerdictKind::kFailed:
      break;
  }
  return ParityStatus::kMistrusted;
}

std::string match_sentence(const compare::RunComparison& comparison) {
  return fmt::format("{} of {} tensors are equal bit for bit, and so are {} of {} generated tokens",
                     comparison.n_hash_equal, comparison.coverage.tensors_compared, comparison.tokens.n_equal,
                     comparison.tokens.n_compared);
}

// Sets status and reason from what the two sides did.
void judge(const SweepPlan& plan, const peer::PeerRun& subject, const std::optional<peer::PeerRun>& reference,
           ScenarioOutcome& outcome) {
  if (!subject.run) {
    outcome.status = ParityStatus::kSubjectFailed;
    outcome.reason = failure_sentence("subject", outcome.subject);
  } else if (!reference) {
    outcome.status = ParityStatus::kRustOnly;
    outcome.reason = "there is no reference to hold it against";
  } else if (reference->no_recording) {
    outcome.status = plan.reference_was_chosen ? ParityStatus::kMistrusted : ParityStatus::kRustOnly;
    outcome.reason = "nothing was compared: " + outcome.reference.failure;
  } else if (!reference->run) {
    outcome.status = ParityStatus::kReferenceFailed;
    outcome.reason = failure_sentence("reference", outcome.reference);
  } else {
    outcome.comparison = compare::compare_runs(*subject.run, *reference->run, plan.compare);
    const compare::Verdict& verdict = outcome.comparison->verdict;
    outcome.status = status_of(verdict.kind);
    outcome.reason = verdict.reason.empty() ? match_sentence(*outcome.comparison) : verdict.reason;
  }
}

class ScenarioRun {
 public:
  ScenarioRun(const SweepPlan& plan, size_t index, const fs::path& partial, const fs::path& final_path,
              Progress& progress)
      : plan_(plan), index_(index), partial_(partial), final_path_(final_path), progress_(progress) {}

  // nullopt: interrupted.
  Result<std::optional<ScenarioOutcome>> run() {
    ScenarioOutcome outcome;
    outcome.scenario = plan_.scenarios[index_];
    outcome.folder = final_path_;
    TERN_ASSIGN_OR_RETURN(const peer::PeerRun subject, run_side(*plan_.subject, "subject", "rs"));
    if (is_interrupted(plan_)) {
      return std::optional<ScenarioOutcome>();
    }
    outcome.subject = execution_of(subject, plan_, partial_, final_path_);
    outcome.n_subject_traces = subject.n_traces;
    if (subject.run) {
      outcome.subject_result = subject.run->result;
      if (const auto* logits = subject.run->logits()) {
        outcome.logits_dim = static_cast<size_t>(logits->shape[1]);
      }
    }
    std::optional<peer::PeerRun> reference;
    if (plan_.reference != nullptr) {
      TERN_ASSIGN_OR_RETURN(reference, run_side(*plan_.reference, "reference", "cpp"));
      if (is_interrupted(plan_)) {
        return std::optional<ScenarioOutcome>();
      }
      outcome.reference = execution_of(*reference, plan_, partial_, final_path_);
      outcome.n_reference_traces = reference->n_traces;
      if (reference->run) {
        outcome.reference_result = reference->run->result;
      }
    }
    judge(plan_, subject, reference, outcome);
    return std::optional<ScenarioOutcome>(std::move(outcome));
  }

 private:
  Result<peer::PeerRun> run_side(const peer::Peer& peer, std::string_view side, const std::string& prefix) {
    const Scenario& scenario = plan_.scenarios[index_];
    progress_.started(index_, scenario, side);
    peer::RunRequest request;
    request.model = plan_.model;
    request.tokenizer = plan_.tokenizer;
    request.prompt = scenario.prompt;
    request.max_tokens = scenario.max_tokens;
    request.threads = plan_.threads;
    request.timeout_s = plan_.timeout_s;
    request.run_folder = partial_ / (prefix + "-run");
    request.trace_folder = partial_ / (prefix + "-traces");
    request.output_file = partial_ / (prefix + "-output.txt");
    request.interrupt = plan_.interrupt;
    request.on_tick = [&](double elapsed_s) { progress_.running(elapsed_s, request.trace_folder); };
    return peer.run(request);
  }

  const SweepPlan& plan_;
  size_t index_;
  const fs::path& partial_;
  const fs::path& final_path_;
  Progress& progress_;
};

// A command says only in its result what engine it is.
void note_reference_engine(compare::SweepOutcome& sweep, const ScenarioOutcome& scenario) {
  if (sweep.reference.engine.empty() && scenario.reference_result) {
    sweep.reference.engine = scenario.reference_result->engine;
  }
}

}  // namespace

Status run_sweep(const SweepPlan& plan, OutputFolder& output, const ReportWriter& write_reports, Progress& progress,
                 compare::SweepOutcome& outcome) {
  TERN_CHECK(plan.subject != nullptr);
  const auto start = std::chrono::steady_clock::now();
  for (size_t index = 0; index < plan.scenarios.size() && !is_interrupted(plan); ++index) {
    const std::string& name = plan.scenarios[index].name;
    const fs::path final_path = output.path() / name;
    TERN_ASSIGN_OR_RETURN(const fs::path partial, output.begin(name));
    TERN_ASSIGN_OR_RETURN(std::optional<ScenarioOutcome> scenario,
                          ScenarioRun(plan, index, partial, final_path, progress).run());
    if (!scenario) {
      output.discard();
      break;
    }
    note_reference_engine(outcome, *scenario);
    TERN_RETURN_IF_ERROR(write_reports(outcome, *scenario, partial));
    TERN_RETURN_IF_ERROR(output.commit());
    progress.finished(index, *scenario);
    outcome.scenarios.push_back(std::move(*scenario));
  }
  outcome.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return {};
}

}  // namespace tern::sweep
