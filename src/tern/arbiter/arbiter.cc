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
  peer::RunRequest request(question);
  request.token_ids = question.prompt_tokens;
  request.teacher_tokens = question.fed_tokens;
  request.max_tokens = static_cast<int>(question.fed_tokens.size()) + 1;
  request.dump_tensors = true;
  request.run_folder = question.folder / (name + "-run");
  request.trace_folder = question.folder / (name + "-traces");
  request.output_file = question.folder / (name + "-output.txt");
  auto run = engine.run(request);
  std::error_code ignored;
  fs::remove_all(request.trace_folder, ignored);
  fs::remove(request.output_file, ignored);
  if (run && !run->run) {
    fs::remove_all(request.run_folder, ignored);
    return fail(ErrorCode::kEngine, "the " + name, run->failure);
  }
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

}  // namespace

std::vector<int32_t> fed_tokens(const trace::RunResult& result) {
  std::vector<int32_t> fed = result.generated_tokens;
  std::copy_n(result.teacher_tokens.begin(), std::min(fed.size(), result.teacher_tokens.size()), fed.begin());
  if (!fed.empty()) {
    fed.pop_back();
  }
  return fed;
}

Question::Question(const peer::RunSetting& setting, fs::path folder_of_runs, const EngineRun& run)
    : RunSetting(setting),
      prompt_tokens(run.result.prompt_tokens),
      fed_tokens(arbiter::fed_tokens(run.result)),
      folder(std::move(folder_of_runs)) {}

Result<Arbiter> Arbiter::ask(const OracleEngines& engines, Question question) {
  TERN_ASSIGN_OR_RETURN(peer::PeerRun oracle, evaluate(*engines.plain, question, "oracle"));
  TERN_ASSIGN_OR_RETURN(const peer::PeerRun rounded, evaluate(*engines.rounded, question, "rounded-oracle"));
  compare::RoundingNoise noise(*oracle.run, *rounded.run);
  remove_run(question, "rounded-oracle");
  return Arbiter(engines, std::move(question), std::move(oracle), std::move(noise));
}

Result<Opinion> Arbiter::judge(const EngineRun& subject, const EngineRun* reference,
                               std::string_view subject_name) const {
  Opinion opinion{compare::arbitrate(subject, reference, oracle(), noise_, subject_name), std::nullopt};
  const compare::Arbitration& arbitration = opinion.arbitration;
  if (arbitration.wrong() == compare::Wrong::kNeither) {
    return opinion;
  }
  const bool is_subject = arbitration.subject.first().has_value();
  const trace::TensorId first = *(is_subject ? arbitration.subject : arbitration.reference).first();
  const StageArbitration* stage = arbitration.find(first);
  const auto& error = is_subject ? stage->subject : stage->reference;
  TERN_ASSIGN_OR_RETURN(opinion.cause, explain(is_subject ? subject : *reference, first, error->relative));
  return opinion;
}

Result<Cause> Arbiter::explain(const EngineRun& wrong, const trace::TensorId& first, double error_at_first) const {
  Cause cause{"unknown", first.name(), 0, ""};
  std::string tried;
  Fit best;
  for (const OracleEngines::Fault& fault : engines_->faults) {
    tried += (tried.empty() ? "" : ", ") + fault.id;
    const std::string name = "oracle-with-" + fault.id;
    const auto run = evaluate(*fault.engine, question_, name);
    if (!run) {
      const bool interrupted = question_.interrupt != nullptr && question_.interrupt->signal() != 0;
      if (interrupted || run.error().code == ErrorCode::kIo) {
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
  cause.evidence = describe(best, cause.id, first, error_at_first) + "; tried: " + tried;
  return cause;
}

}  // namespace tern::arbiter
