#include "tern/app/bisect_trial.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "tern/app/live_reference.h"
#include "tern/app/own_engine.h"
#include "tern/report/view/comparison_view.h"
#include "tern/sweep/sweep.h"
#include "tern/trace/pack.h"

namespace tern::app {
namespace fs = std::filesystem;
namespace {

using bisect::Outcome;
using outcome::ParityStatus;
using outcome::ScenarioOutcome;

constexpr const char* kTrial = "trial";

class NoProgress final : public sweep::Progress {
 public:
  void started(size_t, const outcome::Scenario&, std::string_view) override {}
  void differs(const trace::TensorId&, double) override {}
  void running(double, const fs::path&) override {}
  void finished(size_t, const ScenarioOutcome&) override {}
};

// Empty where nothing was compared or nothing diverged.
std::string first_divergence(const ScenarioOutcome& outcome) {
  const auto divergence = outcome.comparison ? report::divergence_of(*outcome.comparison) : std::nullopt;
  return divergence ? divergence->name : "";
}

// "a, b", "17 changes", "all changes"
std::string listed(const std::vector<std::string>& names, const std::vector<size_t>& changes) {
  constexpr size_t kMostNamed = 3;
  if (changes.empty() || changes.size() == names.size()) {
    return changes.empty() ? "no change" : "all changes";
  }
  if (changes.size() > kMostNamed) {
    return fmt::format("{} changes", changes.size());
  }
  std::string out;
  for (const size_t i : changes) {
    out += (out.empty() ? "" : ", ") + printable(names[i]);
  }
  return out;
}

}  // namespace

Json to_json(const TrialResult& result) {
  return {{"verdict", bisect::outcome_name(result.outcome)},
          {"reason", result.reason},
          {"first_divergence", result.first_divergence.empty() ? Json(nullptr) : Json(result.first_divergence)}};
}

Result<Trials> Trials::open(const TrialOptions& options, const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(peer::RunSetting setting, run_setting(options.setting));
  setting.model = options.model;
  setting.tokenizer = tokenizer_for(options.model, options.tokenizer);
  setting.interrupt = &interrupt;
  TERN_ASSIGN_OR_RETURN(OpenedModel opened, open_model_and_tokenizer(setting.model, setting.tokenizer));
  TERN_ASSIGN_OR_RETURN(ScratchFolder scratch, ScratchFolder::in_temporary_folder());
  Trials trials(options, std::move(scratch), std::move(opened));
  trials.setting_ = setting;
  TERN_RETURN_IF_ERROR(trials.choose_subject(options.subject, options.subject_settings));
  if (!options.reference.empty()) {
    TERN_ASSIGN_OR_RETURN(const peer::EngineSpec spec, engine_registry().parse(options.reference, "--reference"));
    TERN_ASSIGN_OR_RETURN(trials.reference_, trials.open_engine(spec, "--reference", options.reference_settings));
    if (!trials.reference_.peer) {
      return fail(ErrorCode::kNoVerdict, "--reference " + printable(options.reference),
                  "there is none: " + trials.reference_.note);
    }
  }
  return trials;
}

Status Trials::choose_subject(const std::string& spec, const std::vector<std::string>& settings) {
  const peer::EngineRegistry registry = engine_registry();
  TERN_ASSIGN_OR_RETURN(const peer::EngineSpec parsed, registry.parse(spec, "--subject"));
  TERN_ASSIGN_OR_RETURN(subject_, open_engine(registry.as_subject(parsed), "--subject", settings));
  if (!subject_.peer || !subject_.peer->abilities().runs) {
    return fail(ErrorCode::kUsage, "--subject " + printable(spec, 1000), "is no engine that runs");
  }
  return {};
}

Result<peer::OpenedEngine> Trials::open_engine(const peer::EngineSpec& spec, const std::string& option,
                                               const std::vector<std::string>& settings) const {
  return engine_registry().open(spec, subject_of(options_.model, opened_),
                                reference_options(option, settings, setting_.interrupt));
}

// A sweep of one scenario without reports.
Result<ScenarioOutcome> Trials::run_scenario(const peer::Peer* reference, const fs::path& folder) const {
  sweep::SweepPlan plan(setting_);
  plan.scenarios = {{kTrial, options_.prompt, options_.token_ids, options_.max_tokens, ""}};
  plan.compare.exactness = exactness_of(options_.exact, options_.tolerant);
  plan.subject = subject_.peer.get();
  plan.reference = reference;
  plan.dump_tensors = reference == nullptr || reference_.has_values;
  TERN_ASSIGN_OR_RETURN(sweep::OutputFolder output, sweep::OutputFolder::open(folder, {kTrial}));
  NoProgress progress;
  outcome::SweepOutcome outcome;
  const auto no_reports = [](const auto&, const auto&, const auto&) { return Status(); };
  TERN_RETURN_IF_ERROR(sweep::run_sweep(plan, output, no_reports, progress, outcome));
  if (outcome.scenarios.empty()) {
    return fail(ErrorCode::kEngine, "tern bisect", "interrupted");
  }
  if (outcome.scenarios.front().status == ParityStatus::kMachineFailed) {
    return fail(ErrorCode::kIo, "tern bisect", outcome.scenarios.front().reason);
  }
  return std::move(outcome.scenarios.front());
}

Status Trials::record(const fs::path& folder) const {
  TERN_ASSIGN_OR_RETURN(const ScratchFolder run, ScratchFolder::create(scratch() / "recording"));
  TERN_ASSIGN_OR_RETURN(const ScenarioOutcome outcome, run_scenario(nullptr, run.path()));
  if (outcome.status != ParityStatus::kRustOnly) {
    const bool failed = outcome.status == ParityStatus::kSubjectFailed;
    return fail(failed ? ErrorCode::kEngine : ErrorCode::kNoVerdict, "the good end",
                "gives nothing that others could be held against: " + outcome.reason);
  }
  const trace::PackModel model = {setting_.model.filename(),
                                  outcome.sides.subject.result->model_sha256.empty()
                                      ? opened_.model_facts.sha256
                                      : outcome.sides.subject.result->model_sha256,
                                  ""};
  const Json facts = {{"name", outcome.sides.subject.result->engine}};
  TERN_RETURN_IF_ERROR(trace::Pack::create(
      folder, model, outcome.sides.subject.result->arithmetic, facts,
      {run.path() / kTrial / fmt::format("{}-run", compare::file_prefix(compare::Side::kSubject))}));
  return {};
}

Status Trials::record_reference() {
  const fs::path folder = scratch() / "reference";
  TERN_RETURN_IF_ERROR(record(folder));
  TERN_ASSIGN_OR_RETURN(trace::Pack pack, trace::Pack::open(folder));
  reference_ = {};
  reference_.has_values = pack.has_values();
  reference_.peer = peer::make_pack_peer(std::move(pack), "the good end");
  return {};
}

Result<TrialResult> Trials::run() const {
  TERN_ASSIGN_OR_RETURN(const ScratchFolder run, ScratchFolder::create(scratch() / "run"));
  TERN_ASSIGN_OR_RETURN(const ScenarioOutcome outcome, run_scenario(reference_.peer.get(), run.path()));
  if (outcome.status == ParityStatus::kReferenceFailed) {
    return fail(ErrorCode::kEngine, "--reference", outcome.reason);
  }
  if (outcome.sides.subject.result && !outcome.comparison) {
    return fail(ErrorCode::kNoVerdict, "--reference", outcome.reason);
  }
  return judge(outcome);
}

TrialResult Trials::judge(const ScenarioOutcome& outcome) const {
  const outcome::Execution& subject = outcome.sides.subject.execution;
  const bool crashed = subject.timed_out || subject.signal || subject.exit_code.value_or(0) != 0;
  TrialResult result = {Outcome::kUntestable, outcome.reason, first_divergence(outcome)};
  if (outcome.status == ParityStatus::kOk) {
    result.outcome = Outcome::kGood;
  } else if (outcome.status == ParityStatus::kDiverged ||
             (outcome.status == ParityStatus::kSubjectFailed && crashed && options_.crash_is == "bad")) {
    result.outcome = Outcome::kBad;
  }
  return result;
}

Result<Found> find_changes(const std::vector<std::string>& names, const RunChanged& run) {
  Found found;
  const auto tried = [&](const std::vector<size_t>& changes) -> Result<TrialResult> {
    TERN_ASSIGN_OR_RETURN(TrialResult result, run(changes));
    ++found.n_trials;
    found.n_untestable += result.outcome == Outcome::kUntestable ? 1 : 0;
    spdlog::info("run {}, with {}: {}: {}", found.n_trials, listed(names, changes),
                 bisect::outcome_name(result.outcome), printable(result.reason, 300));
    return result;
  };
  const auto end_is = [&](const char* name, size_t n, Outcome wanted) -> Result<TrialResult> {
    std::vector<size_t> changes;
    for (size_t i = 0; i < n; ++i) {
      changes.push_back(i);
    }
    TERN_ASSIGN_OR_RETURN(TrialResult result, tried(changes));
    if (result.outcome != wanted) {
      return fail(
          ErrorCode::kNoVerdict, name,
          fmt::format("is {}, so there is nothing to find: {}", bisect::outcome_name(result.outcome), result.reason),
          "--exact, --tolerant and --crash-is decide what counts");
    }
    return result;
  };
  TERN_RETURN_IF_ERROR(end_is("the good end", 0, Outcome::kGood));
  TERN_ASSIGN_OR_RETURN(found.bad, end_is("the bad end", names.size(), Outcome::kBad));
  TERN_ASSIGN_OR_RETURN(
      found.changes, bisect::smallest_bad_set(names.size(), [&](const std::vector<size_t>& changes) -> Result<Outcome> {
        TERN_ASSIGN_OR_RETURN(TrialResult result, tried(changes));
        if (result.outcome == Outcome::kBad) {
          found.bad = result;  // the search goes on from here, so the last one is that of the answer
        }
        return result.outcome;
      }));
  return found;
}

Json to_json(const Found& found) {
  Json json = to_json(found.bad);
  json["trials"] = found.n_trials;
  json["untestable"] = found.n_untestable;
  return json;
}

std::string found_text(const Found& found) {
  std::string out;
  if (!found.bad.first_divergence.empty()) {
    out += fmt::format("first divergence: {}\n", printable(found.bad.first_divergence));
  }
  out += fmt::format("{}\nfound in {} runs", printable(found.bad.reason, 1000), found.n_trials);
  return out + (found.n_untestable > 0 ? fmt::format(", {} of which could not be tested\n", found.n_untestable) : "\n");
}

}  // namespace tern::app
