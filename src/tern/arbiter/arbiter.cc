#include "tern/arbiter/arbiter.h"

#include <fmt/format.h>

#include <algorithm>

#include "tern/base/file.h"

namespace tern::arbiter {
namespace fs = std::filesystem;
namespace {

using compare::Cause;
using compare::StageArbitration;
using trace::EngineRun;

// Runs one of the oracles below question.folder. Its traces are in its run folder only.
Result<peer::PeerRun> evaluate(const peer::Peer& engine, const Question& question, const std::string& name) {
  peer::RunRequest request;
  request.model = question.model;
  request.tokenizer = question.tokenizer;
  request.token_ids = question.prompt_tokens;
  request.teacher_tokens = question.fed_tokens;
  request.max_tokens = static_cast<int>(question.fed_tokens.size()) + 1;
  request.dump_tensors = true;
  request.threads = question.threads;
  request.timeout_s = question.timeout_s;
  request.run_folder = question.folder / (name + "-run");
  request.trace_folder = question.folder / (name + "-traces");
  request.output_file = question.folder / (name + "-output.txt");
  request.interrupt = question.interrupt;
  auto run = engine.run(request);
  std::error_code ignored;
  fs::remove_all(request.trace_folder, ignored);
  if (run && !run->run) {
    return fail(ErrorCode::kEngine, "the " + name, run->failure);
  }
  fs::remove(request.output_file, ignored);
  return run;
}

// Values are mapped: what has been looked at may go.
void remove_run(const Question& question, const std::string& name) {
  std::error_code ignored;
  fs::remove_all(question.folder / (name + "-run"), ignored);
}

// How well one fault explains a run.
struct Fit {
  size_t n_held = 0, n_explained = 0;
  std::optional<double> error_at_first;  // relative error of the first wrong tensor, under the fault
  double worst = 0;
};

Fit fit_of(const compare::Arbitration& arbitration, const trace::TensorId& first) {
  Fit fit;
  for (const StageArbitration& stage : arbitration.stages) {
    if (!stage.subject) {
      continue;
    }
    ++fit.n_held;
    fit.n_explained += !stage.subject_wrong;
    fit.worst = std::max(fit.worst, stage.subject->relative);
    if (stage.id == first) {
      fit.error_at_first = stage.subject_wrong ? std::nullopt : std::optional(stage.subject->relative);
    }
  }
  return fit;
}

std::string describe(const Fit& fit, const std::string& fault, const trace::TensorId& first, double error_before) {
  return fmt::format(
      "computed with the fault {}, the oracle agrees: the relative error of {} falls from {:.3g} to {:.3g}, and {} of "
      "{} tensors are within rounding of it",
      fault, first.name(), error_before, *fit.error_at_first, fit.n_explained, fit.n_held);
}

double error_at(const compare::Arbitration& arbitration, const trace::TensorId& id) {
  const auto it = std::find_if(arbitration.stages.begin(), arbitration.stages.end(),
                               [&](const auto& stage) { return stage.id == id; });
  return it != arbitration.stages.end() && it->subject ? it->subject->relative : 0;
}

}  // namespace

Question Question::about(const EngineRun& run) {
  Question question;
  question.prompt_tokens = run.result.prompt_tokens;
  question.fed_tokens = run.result.generated_tokens;
  const auto n_taught = std::min(question.fed_tokens.size(), run.result.teacher_tokens.size());
  std::copy_n(run.result.teacher_tokens.begin(), n_taught, question.fed_tokens.begin());
  if (!question.fed_tokens.empty()) {
    question.fed_tokens.pop_back();  // nobody has seen the last one
  }
  return question;
}

Result<Arbiter> Arbiter::ask(const OracleEngines& engines, Question question) {
  TERN_ASSIGN_OR_RETURN(peer::PeerRun oracle, evaluate(*engines.plain, question, "oracle"));
  TERN_ASSIGN_OR_RETURN(const peer::PeerRun rounded, evaluate(*engines.rounded, question, "rounded-oracle"));
  compare::RoundingNoise noise(*oracle.run, *rounded.run);
  remove_run(question, "rounded-oracle");
  return Arbiter(engines, std::move(question), std::move(oracle), std::move(noise));
}

Result<Cause> Arbiter::explain(const EngineRun& wrong, const compare::FirstWrong& first_wrong) const {
  const trace::TensorId first = *first_wrong.first();
  const double error_before = error_at(compare::arbitrate(wrong, nullptr, oracle(), noise_), first);
  Cause cause{"unknown", first.name(), 0, ""};
  std::string tried;
  Fit best;
  for (const OracleEngines::Fault& fault : engines_->faults) {
    tried += (tried.empty() ? "" : ", ") + fault.id;
    const std::string name = "oracle-with-" + fault.id;
    const auto run = evaluate(*fault.engine, question_, name);
    if (!run) {
      remove_run(question_, name);
      if (question_.interrupt != nullptr && question_.interrupt->signal() != 0) {
        return tl::unexpected(run.error());
      }
      continue;  // a fault that this model cannot have
    }
    const Fit fit = fit_of(compare::arbitrate(wrong, nullptr, *run->run, noise_), first);
    remove_run(question_, name);
    if (fit.error_at_first && fit.n_explained > best.n_explained) {
      best = fit;
      cause.id = fault.id;
    }
  }
  if (!best.error_at_first) {
    cause.evidence = "none of the faults that were tried explains it: " + tried;
    return cause;
  }
  cause.confidence = static_cast<double>(best.n_explained) / static_cast<double>(best.n_held);
  cause.evidence = describe(best, cause.id, first, error_before) + "; tried: " + tried;
  return cause;
}

}  // namespace tern::arbiter
