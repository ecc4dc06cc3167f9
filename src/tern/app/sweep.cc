#include "tern/app/sweep.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "tern/app/build_facts.h"
#include "tern/app/live_reference.h"
#include "tern/app/opened_model.h"
#include "tern/app/own_engine.h"
#include "tern/app/reference_check.h"
#include "tern/app/run_setting.h"
#include "tern/app/sweep_engines.h"
#include "tern/app/tensor_patterns.h"
#include "tern/app/third_opinion.h"
#include "tern/arch/model_file.h"
#include "tern/compare/name_pattern.h"
#include "tern/report/writers/writers.h"
#include "tern/sweep/environment.h"
#include "tern/sweep/kept_runs.h"
#include "tern/sweep/output_folder.h"
#include "tern/sweep/scenarios.h"
#include "tern/sweep/tolerances.h"

namespace tern::app {
namespace fs = std::filesystem;
namespace {

// The most positions that a scenario needs. A prompt that does not fit is found here, before anything has run.
Result<size_t> check_prompts(const OpenedModel& opened, const std::vector<outcome::Scenario>& scenarios,
                             const std::string& source) {
  size_t most = 0;
  const auto n_context = arch::context_length(opened.view);
  for (const outcome::Scenario& scenario : scenarios) {
    const std::string where = fmt::format("{}: {}", source, scenario.name);
    const auto n_ids = count_prompt_ids(opened, scenario.prompt, scenario.token_ids);
    if (!n_ids) {
      return invalid_input(where, "prompt: " + n_ids.error().what);
    }
    const bool is_counted = opened.tokenizer || !scenario.token_ids.empty();
    const uint64_t n_positions = *n_ids + static_cast<uint64_t>(scenario.max_tokens) - 1;
    if (is_counted && n_context && n_positions > *n_context) {
      return invalid_input(where, fmt::format("{} prompt tokens and {} to generate need {} positions, the model has {}",
                                              *n_ids, scenario.max_tokens, n_positions, *n_context));
    }
    most = std::max<size_t>(most, n_positions);
  }
  return most;
}

// Checks the reference and logs each check as it is made. The results go into `plan` and `outcome`, and the
// arithmetic that was found into `arithmetic`.
Status check_before_sweep(const SweepOptions& options, const OpenedModel& opened, const peer::OpenedEngine& reference,
                          sweep::SweepPlan& plan, outcome::SweepOutcome& outcome, std::string& arithmetic) {
  const bool wanted = options.check_reference == "always" ||
                      (options.check_reference == "auto" && reference.peer && reference.peer->abilities().runs);
  if (!wanted || !reference.peer || plan.scenarios.empty() || is_of_another_model(reference, opened)) {
    return {};
  }
  const outcome::Scenario& scenario =
      *std::max_element(plan.scenarios.begin(), plan.scenarios.end(),
                        [](const auto& a, const auto& b) { return a.max_tokens < b.max_tokens; });
  arbiter::CheckPlan check(plan);
  check.reference = reference.peer.get();
  check.prompt = scenario.prompt;
  check.token_ids = scenario.token_ids;
  check.max_tokens = scenario.max_tokens;
  spdlog::info("checking the reference on {} before the scenarios run", scenario.name);
  auto result = check_reference(
      check, options.ask, opened,
      [](const outcome::ReferenceCheck& done) {
        const bool failed = done.status == outcome::ReferenceCheck::Status::kFailed;
        spdlog::log(failed ? spdlog::level::warn : spdlog::level::info, "  {} {}: {}", done.question,
                    outcome::check_status_name(done.status), printable(done.evidence, 1000));
      },
      plan.kept_runs);
  if (!result && plan.interrupt->signal() != 0) {
    return {};
  }
  if (!result) {
    // The reference cannot run: each scenario states that with its files.
    spdlog::warn("the reference could not be checked: {}", printable(result.error().line(), 1000));
    return {};
  }
  if (const auto* failed = result->first_failed(); failed != nullptr) {
    plan.reference_distrust = fmt::format("the reference fails its check '{}': {}", failed->id, failed->evidence);
    if (result->cause && result->cause->id != "unknown") {
      plan.reference_distrust += fmt::format(" (cause: {} at {})", result->cause->id, result->cause->name);
    }
  }
  if (reference.traits.has_adapter && options.reference_arithmetic.empty()) {
    arithmetic = result->arithmetic;
  }
  outcome.reference_check = std::move(*result);
  return {};
}

Status write_scenario_reports(const outcome::SweepOutcome& sweep, const outcome::ScenarioOutcome& scenario,
                              const fs::path& folder) {
  return report::write_reports(report::view_of(sweep, scenario), folder);
}

// Whether engines may record stages of names that are not known before they run.
bool may_have_other_stages(const SweepOptions& options, const sweep::SweepPlan& plan, const SweepEngines& engines) {
  return options.stages == "all" || plan.compare.graph.stages.empty() || engines.subject.traits.is_command ||
         engines.reference.traits.is_command;
}

// Checks the patterns before anything runs: all names are known by then.
Status check_patterns_before(const sweep::SweepPlan& plan, size_t n_positions) {
  constexpr size_t kUbatch = 512;
  int n_passes = 2;  // a rule for decode steps is none less where there are none
  for (const outcome::Scenario& scenario : plan.scenarios) {
    n_passes = std::max(n_passes, scenario.max_tokens);
  }
  const auto n_ubatches = static_cast<int>(n_positions / kUbatch) + 1;
  return check_patterns(patterns_in(plan.compare), [&](const TensorPattern& pattern) {
    return is_of_graph(pattern, plan.compare.graph, n_passes, n_ubatches);
  });
}

// Checks the patterns against the names that the engines have recorded, where nothing else states the names.
Status check_patterns_behind(const sweep::SweepPlan& plan, const outcome::SweepOutcome& outcome) {
  const auto has_one = [](const TensorPattern& pattern, const outcome::ScenarioOutcome& scenario) {
    return scenario.comparison &&
           std::any_of(scenario.comparison->tensors.begin(), scenario.comparison->tensors.end(),
                       [&](const auto& tensor) { return compare::matches(pattern.pattern, tensor.id); });
  };
  const auto is_compared = [](const auto& scenario) { return scenario.comparison.has_value(); };
  const auto& scenarios = outcome.scenarios;
  if (std::none_of(scenarios.begin(), scenarios.end(), is_compared)) {
    return {};
  }
  return check_patterns(patterns_in(plan.compare), [&](const TensorPattern& pattern) {
    return is_of_graph(pattern, plan.compare.graph, 1, 1) ||
           std::any_of(scenarios.begin(), scenarios.end(), [&](const auto& s) { return has_one(pattern, s); });
  });
}

// Warns of what was not compared, for users who read no report.
void tell_what_was_not_compared(const outcome::SweepOutcome& outcome) {
  for (const outcome::ScenarioOutcome& scenario : outcome.scenarios) {
    if (scenario.reference_has_no_answer) {
      spdlog::warn("{}: {}", scenario.scenario.name, printable(scenario.reason, 1000));
    }
  }
}

void tell_before_running(const OpenedModel& opened, const outcome::SweepOutcome& sweep) {
  if (opened.tokenizer) {
    for (const std::string& warning : opened.tokenizer->warnings()) {
      spdlog::warn("{}", printable(warning, 1000));
    }
  }
  for (const std::string& disagreement : sweep.tokenizer.disagreements) {
    spdlog::warn("tokenizer: {}", printable(disagreement, 1000));
  }
  const outcome::EngineFacts& reference = sweep.reference;
  if (!reference.is_there) {
    spdlog::info("no reference, status will be rust_only: {}", printable(reference.note, 1000));
  } else {
    spdlog::info("reference: {}{}", printable(reference.spec, 1000),
                 reference.engine.empty() ? "" : " (" + printable(reference.engine) + ")");
    if (!reference.note.empty()) {
      spdlog::warn("{}", printable(reference.note, 1000));
    }
  }
}

Result<sweep::OutputFolder> open_output(const std::string& path, const std::vector<outcome::Scenario>& scenarios) {
  std::vector<std::string> names;
  for (const outcome::Scenario& scenario : scenarios) {
    names.push_back(scenario.name);
  }
  return sweep::OutputFolder::open(path, names);
}

// Keeps what the engines do from here on, for --resume.
Result<std::unique_ptr<sweep::KeptRuns>> keep_runs(const SweepOptions& options, const OpenedModel& opened,
                                                   const sweep::SweepPlan& plan, const SweepEngines& engines) {
  TERN_ASSIGN_OR_RETURN(const Json asked, everything_asked(options, opened, plan, engines));
  TERN_ASSIGN_OR_RETURN(auto kept_runs, sweep::KeptRuns::open(options.output_dir, asked, options.resume));
  const std::vector<std::string> earlier = kept_runs->earlier();
  if (!kept_runs->why_anew().empty()) {
    spdlog::warn("--resume: everything is run anew: {}", printable(kept_runs->why_anew(), 1000));
  } else if (options.resume && earlier.empty()) {
    spdlog::info("--resume: {} holds nothing of an unfinished sweep, so everything is run", options.output_dir);
  } else if (options.resume) {
    spdlog::info("--resume: engine runs that had ended: {}",
                 printable(fmt::format("{}", fmt::join(earlier, ", ")), 1000));
  }
  return kept_runs;
}

SweepEnd interrupted_at(int signal, const sweep::SweepPlan& plan, outcome::SweepOutcome outcome) {
  return {std::move(outcome), plan.scenarios.size(), signal, plan.kept_runs != nullptr && plan.kept_runs->has_any()};
}

Result<SweepEnd> run_to_the_end(const sweep::SweepPlan& plan, sweep::OutputFolder& output, bool resume,
                                const MakeProgress& make_progress, outcome::SweepOutcome outcome) {
  {
    const auto progress = make_progress(plan.scenarios.size());
    TERN_RETURN_IF_ERROR(sweep::run_sweep(plan, output, write_scenario_reports, *progress, outcome));
  }
  if (const int signal = plan.interrupt->signal(); signal != 0) {
    return interrupted_at(signal, plan, std::move(outcome));
  }
  TERN_RETURN_IF_ERROR(check_patterns_behind(plan, outcome));
  tell_what_was_not_compared(outcome);
  if (resume) {
    outcome.resumed = plan.kept_runs->resumption();
    spdlog::info("resumed: {}", report::resumption_text(*outcome.resumed));
    for (const std::string& run : outcome.resumed->run_again) {
      spdlog::warn("was run again, since it could not be taken over: {}", printable(run, 1000));
    }
  }
  TERN_RETURN_IF_ERROR(report::write_reports(report::view_of(outcome), outcome.output_dir));
  const bool is_whole = std::none_of(outcome.scenarios.begin(), outcome.scenarios.end(), [](const auto& scenario) {
    return scenario.status == outcome::ParityStatus::kMachineFailed;
  });
  if (const Status removed = is_whole ? plan.kept_runs->remove() : Status(); !removed) {
    spdlog::warn("{}", removed.error().line());  // the verdict stands all the same
  }
  return SweepEnd{std::move(outcome), plan.scenarios.size(), 0, false};
}

// The command that the reports repeat: it starts anew.
std::vector<std::string> typed_command_without_resume() {
  std::vector<std::string> words = typed_command();
  std::erase(words, "--resume");
  return words;
}

Status fill_in(outcome::SweepOutcome& outcome, const SweepOptions& options, const OpenedModel& opened,
               const SweepEngines& engines, const sweep::SweepPlan& plan) {
  outcome.tern_version = version();
  outcome.timestamp = sweep::utc_now();
  outcome.output_dir = options.output_dir;
  outcome.command = typed_command_without_resume();
  outcome.model = opened.model_facts;
  outcome.tokenizer = opened.tokenizer_facts;
  outcome.subject = facts_of(engines.subject);
  outcome.reference = facts_of(engines.reference);
  outcome.reference_required = options.require_reference;
  outcome.timeout_s = plan.timeout_s;
  outcome.environment = sweep::describe_environment(plan.threads, plan.timeout_s);
  TERN_ASSIGN_OR_RETURN(outcome.repro, repro_of(options, plan, outcome.reference));
  return {};
}

}  // namespace

Result<SweepEnd> sweep_and_report(const SweepOptions& options, const MakeProgress& make_progress) {
  TERN_ASSIGN_OR_RETURN(const peer::RunSetting setting, run_setting(options.setting));
  sweep::SweepPlan plan(setting);
  const peer::EngineRegistry registry = engine_registry();
  TERN_ASSIGN_OR_RETURN(const peer::EngineSpec reference_spec, registry.parse(options.reference, "--reference"));
  TERN_ASSIGN_OR_RETURN(const peer::EngineSpec subject_spec, registry.parse(options.subject, "--subject"));
  const bool is_own_subject = registry.find(registry.as_subject(subject_spec).scheme)->traits.is_own;
  plan.scenarios = sweep::builtin_scenarios();
  if (!options.scenarios.empty()) {
    TERN_ASSIGN_OR_RETURN(plan.scenarios, sweep::read_scenarios(options.scenarios));
  }
  if (!options.tolerances.empty()) {
    TERN_ASSIGN_OR_RETURN(plan.compare.tolerances, sweep::read_tolerances(options.tolerances));
  }
  TERN_ASSIGN_OR_RETURN(std::vector<outcome::Scenario> chosen, sweep::scenarios_named(plan.scenarios, options.only));
  const Tokenized tokenized = is_own_subject ? Tokenized::kByTern : Tokenized::kOrByTheEngines;
  TERN_ASSIGN_OR_RETURN(const OpenedModel opened,
                        open_model_and_tokenizer(options.model, options.tokenizer, tokenized));
  TERN_ASSIGN_OR_RETURN(
      const size_t n_positions,
      check_prompts(opened, plan.scenarios, options.scenarios.empty() ? "built-in scenarios" : options.scenarios));
  plan.compare.graph = graph_of(opened.view);
  plan.compare.allow_missing = options.allow_missing;
  plan.compare.level = options.level;
  plan.tokenizers_differ = opened.tokenizer_facts.disagreements;
  // The folder is opened before anything runs: an error there must not cost minutes of results.
  TERN_ASSIGN_OR_RETURN(sweep::OutputFolder output, open_output(options.output_dir, chosen));
  const Interrupt interrupt;
  plan.interrupt = &interrupt;
  plan.model = options.model;
  plan.tokenizer = options.tokenizer;

  outcome::SweepOutcome outcome;
  std::string arithmetic = options.reference_arithmetic;
  outcome.output_dir = options.output_dir;
  auto first_engines = open_engines(options, reference_spec, opened, arithmetic, interrupt);
  if (interrupt.signal() != 0) {
    return interrupted_at(interrupt.signal(), plan, std::move(outcome));
  }
  TERN_ASSIGN_OR_RETURN(SweepEngines engines, std::move(first_engines));
  if (!may_have_other_stages(options, plan, engines)) {
    TERN_RETURN_IF_ERROR(check_patterns_before(plan, n_positions));
  }
  TERN_ASSIGN_OR_RETURN(const auto kept_runs, keep_runs(options, opened, plan, engines));
  plan.kept_runs = kept_runs.get();
  engines.reference.peer = kept_runs->keep(std::move(engines.reference.peer));
  TERN_RETURN_IF_ERROR(check_before_sweep(options, opened, engines.reference, plan, outcome, arithmetic));
  if (interrupt.signal() != 0) {
    return interrupted_at(interrupt.signal(), plan, std::move(outcome));
  }
  if (arithmetic != options.reference_arithmetic) {
    TERN_ASSIGN_OR_RETURN(engines, open_engines(options, reference_spec, opened, arithmetic, interrupt));
    engines.reference.peer = kept_runs->keep(std::move(engines.reference.peer), arithmetic);
  }
  engines.subject.peer = kept_runs->keep(std::move(engines.subject.peer), arithmetic);
  TERN_ASSIGN_OR_RETURN(arbiter::OracleEngines oracle, oracle_engines());
  kept_runs->keep(oracle);
  plan.why_no_oracle = is_of_another_model(engines.reference, opened)
                           ? "the reference is of another model, which the oracle has not seen"
                           : why_no_oracle(options.ask, opened.view, n_positions);
  plan.oracle = plan.why_no_oracle.empty() ? &oracle : nullptr;
  const bool may_look = options.ask != AskOracle::kNever && !is_of_another_model(engines.reference, opened);
  plan.close_look = plan.oracle == nullptr && may_look && check_oracle_can_compute(opened.view) ? &oracle : nullptr;
  // The scenarios are reduced only here: the checks, and whether the oracle arbitrates, follow from all of them.
  plan.scenarios = std::move(chosen);
  // Where the other side has values, a difference can be measured, if this one keeps its own.
  plan.dump_tensors = options.dump_tensors || engines.reference.has_values || plan.oracle != nullptr;
  plan.all_stages = options.stages == "all";
  plan.stop_at_divergence = options.stop_at_divergence;
  plan.equal_bits = options.exact || (!options.tolerant && claim_one_arithmetic(engines, opened, arithmetic));
  plan.subject = engines.subject.peer.get();
  plan.reference = engines.reference.peer.get();
  plan.compare.exactness = exactness_of(options.exact, options.tolerant);
  TERN_RETURN_IF_ERROR(fill_in(outcome, options, opened, engines, plan));
  tell_before_running(opened, outcome);
  return run_to_the_end(plan, output, options.resume, make_progress, std::move(outcome));
}

}  // namespace tern::app
