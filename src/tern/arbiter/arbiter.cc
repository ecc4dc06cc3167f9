#include "tern/arbiter/arbiter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

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

// Outputs of a projection that are wrong for some token.
struct WrongRows {
  size_t n_features = 0, of = 0;
  size_t first = 0;
};

// More of them are no matter of single weights.
constexpr double kMaxWrongRows = 0.05;

bool is_projection(trace::Stage stage) {
  using trace::Stage;
  return stage == Stage::kQProj || stage == Stage::kKProj || stage == Stage::kVProj || stage == Stage::kOProj ||
         stage == Stage::kGateProj || stage == Stage::kUpProj || stage == Stage::kDownProj || stage == Stage::kLogits;
}

// Absent where the stage is no projection, or a side has no values of it.
std::optional<WrongRows> wrong_rows(const EngineRun& wrong, const EngineRun& oracle, const StageArbitration& stage) {
  const auto* ours = wrong.values ? wrong.values->find(stage.id.name()) : nullptr;
  const auto* right = oracle.values ? oracle.values->find(stage.id.name()) : nullptr;
  const trace::TraceRecord* record = oracle.find(stage.id);
  if (!is_projection(stage.id.stage) || ours == nullptr || right == nullptr || ours->shape != right->shape ||
      right->shape.size() != 2 || !stage.bound.largest || record == nullptr || !record->rms) {
    return std::nullopt;
  }
  const auto n_features = static_cast<size_t>(right->shape[1]);
  const double allowed = *stage.bound.largest * *record->rms;
  WrongRows rows{.of = n_features};
  for (size_t feature = 0; feature < n_features; ++feature) {
    for (size_t i = feature; i < right->values.size(); i += n_features) {
      if (!(std::abs(static_cast<double>(ours->values[i]) - static_cast<double>(right->values[i])) <= allowed)) {
        rows.first = rows.n_features++ == 0 ? feature : rows.first;
        break;
      }
    }
  }
  return rows.n_features > 0 ? std::optional(rows) : std::nullopt;
}

// Two sides that made different ids of one prompt; the reference is taken to be right.
std::optional<Cause> cause_of_prompts(const trace::RunResult& subject, const trace::RunResult& reference) {
  const auto& a = subject.prompt_tokens;
  const auto& b = reference.prompt_tokens;
  if (a.empty() || b.empty() || a == b) {
    return std::nullopt;
  }
  const auto [at, other] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  const auto is_rest_of = [](const auto& shorter, const auto& longer) {
    return shorter.size() + 1 == longer.size() && std::equal(shorter.begin(), shorter.end(), longer.begin() + 1);
  };
  Cause cause{"tokenizer", "tokens", 1, ""};
  if (is_rest_of(a, b) || is_rest_of(b, a)) {
    cause.id = "missing_bos";
    cause.evidence = fmt::format("the {}'s {} prompt ids are the other side's without the first one, {}",
                                 a.size() < b.size() ? "subject" : "reference", std::min(a.size(), b.size()),
                                 a.size() < b.size() ? b[0] : a[0]);
  } else {
    cause.evidence = fmt::format("the same prompt became {} ids and {} ids, which differ from position {} on", a.size(),
                                 b.size(), at - a.begin());
  }
  return cause;
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
    opinion.cause = reference != nullptr ? cause_of_prompts(subject.result, reference->result) : std::nullopt;
    return opinion;
  }
  if (arbitration.subject.first()) {
    TERN_ASSIGN_OR_RETURN(opinion.cause, explain(subject, arbitration));
  } else {
    TERN_ASSIGN_OR_RETURN(opinion.cause,
                          explain(*reference, compare::arbitrate(*reference, nullptr, oracle(), noise_)));
  }
  return opinion;
}

// Not where the wrong run has computed one of those stages right that the fault always changes: in the same pass and
// layer, so that both saw the same.
bool Arbiter::could_be(const OracleEngines::Fault& fault, const compare::Arbitration& arbitration) const {
  const trace::TensorId first = *arbitration.subject.first();
  return std::none_of(fault.always_changes.begin(), fault.always_changes.end(), [&](trace::Stage changed) {
    trace::TensorId id = first;
    id.stage = changed;
    const StageArbitration* stage = arbitration.find(id);
    return stage != nullptr && stage->subject && !stage->subject->is_lower_bound && !stage->subject_wrong;
  });
}

Result<Cause> Arbiter::explain(const EngineRun& wrong, const compare::Arbitration& arbitration) const {
  const trace::TensorId first = *arbitration.subject.first();
  const StageArbitration& stage = *arbitration.find(first);
  Cause cause{"unknown", first.name(), 0, ""};
  std::string tried, ruled_out, explaining;
  Fit best;
  for (const OracleEngines::Fault& fault : engines_->faults) {
    const bool possible = could_be(fault, arbitration);
    std::string& list = possible ? tried : ruled_out;
    list += (list.empty() ? "" : ", ") + fault.name;
    if (!possible) {
      continue;
    }
    const std::string name = "oracle-with-" + fault.name;
    auto known = fault_runs_.find(name);
    if (known == fault_runs_.end()) {
      auto run = evaluate(*fault.engine, question_, name);
      const bool interrupted = question_.interrupt != nullptr && question_.interrupt->signal() != 0;
      if (!run && (interrupted || run.error().code == ErrorCode::kIo)) {
        return tl::unexpected(run.error());
      }
      known = fault_runs_.emplace(name, run ? std::optional(std::move(*run)) : std::nullopt).first;
    }
    if (!known->second) {
      continue;  // a fault that this model cannot have
    }
    const Fit fit = fit_of(compare::arbitrate(wrong, nullptr, *known->second->run, noise_), first);
    if (!question_.keep_runs) {
      fault_runs_.erase(known);
      remove_run(question_, name);
    }
    if (fit.error_at_first && fit.n_explained > best.n_explained) {
      best = fit;
      cause.id = fault.cause;
      explaining = fault.name;
    }
  }
  const std::string others =
      "; tried: " + tried + (ruled_out.empty() ? "" : "; ruled out by what is right: " + ruled_out);
  if (!best.error_at_first) {
    const auto rows = wrong_rows(wrong, oracle(), stage);
    if (rows && static_cast<double>(rows->n_features) <= kMaxWrongRows * static_cast<double>(rows->of)) {
      cause.id = "weight_value";
      cause.confidence = 1 - static_cast<double>(rows->n_features) / static_cast<double>(rows->of);
      cause.evidence =
          fmt::format("{} of {} outputs of {} differ, the first is {}: rows of its weight; no fault explains it",
                      rows->n_features, rows->of, first.name(), rows->first) +
          others;
      return cause;
    }
    cause.evidence = "none of the faults that were tried explains it" + others;
    return cause;
  }
  cause.confidence = static_cast<double>(best.n_explained) / static_cast<double>(best.n_held);
  cause.evidence = describe(best, explaining, first, stage.subject->relative) + others;
  return cause;
}

}  // namespace tern::arbiter
