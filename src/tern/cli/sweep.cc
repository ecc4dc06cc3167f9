#include "tern/sweep/sweep.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "tern/app/build_facts.h"
#include "tern/app/live_reference.h"
#include "tern/app/opened_model.h"
#include "tern/app/own_engine.h"
#include "tern/app/reference_check.h"
#include "tern/app/sweep_options.h"
#include "tern/app/sweep_progress.h"
#include "tern/app/third_opinion.h"
#include "tern/base/child_process.h"
#include "tern/base/file.h"
#include "tern/base/hash.h"
#include "tern/cli/command.h"
#include "tern/cli/options.h"
#include "tern/peer/command_template.h"
#include "tern/peer/open_engine.h"
#include "tern/report/report.h"
#include "tern/sweep/environment.h"
#include "tern/sweep/kept_runs.h"
#include "tern/sweep/output_folder.h"
#include "tern/sweep/scenarios.h"
#include "tern/sweep/tolerances.h"

namespace tern::cli {
namespace fs = std::filesystem;
namespace {

outcome::ReferenceFacts facts_of(const peer::OpenedEngine& opened) {
  return {opened.kind, opened.spec, opened.engine, opened.id, opened.note, opened.details};
}

// The most positions that a scenario needs. A prompt that does not fit is found here, before anything has run.
Result<size_t> check_prompts(const app::OpenedModel& opened, const std::vector<outcome::Scenario>& scenarios,
                             const std::string& source) {
  size_t most = 0;
  const auto n_context = app::context_length(opened.view);
  for (const outcome::Scenario& scenario : scenarios) {
    const std::string where = fmt::format("{}: {}", source, scenario.name);
    const auto ids = app::prompt_ids(opened.tokenizer, scenario.prompt, scenario.token_ids);
    if (!ids) {
      return invalid_input(where, "prompt: " + ids.error().what);
    }
    const uint64_t n_positions = ids->size() + static_cast<uint64_t>(scenario.max_tokens) - 1;
    if (n_context && n_positions > *n_context) {
      return invalid_input(where, fmt::format("{} prompt tokens and {} to generate need {} positions, the model has {}",
                                              ids->size(), scenario.max_tokens, n_positions, *n_context));
    }
    most = std::max<size_t>(most, n_positions);
  }
  return most;
}

// With which our engine is to meet a reference of that arithmetic.
kernels::ActivationRounding rounding_of(const std::string& arithmetic) {
  return arithmetic.ends_with("-fused") ? kernels::ActivationRounding::kFused
                                        : kernels::ActivationRounding::kProductFirst;
}

Result<peer::OpenedEngine> open_subject(const app::SweepOptions& options, const app::OpenedModel& opened,
                                        const peer::Subject& about, const std::string& arithmetic) {
  TERN_ASSIGN_OR_RETURN(const peer::EngineSpec spec, peer::parse_engine_spec(options.subject, "--subject"));
  if (spec.kind == peer::EngineKind::kNone) {
    return fail(ErrorCode::kUsage, "--subject", "'none' leaves nothing to validate");
  }
  if (spec.kind != peer::EngineKind::kAuto) {
    peer::OpenOptions open_options = app::reference_options("--subject");
    open_options.allow_model_mismatch = options.allow_model_mismatch;
    return peer::open_engine(spec, about, open_options);
  }
  TERN_RETURN_IF_ERROR(app::check_computable(opened.view));
  peer::OpenedEngine own;
  own.kind = "tern";
  TERN_ASSIGN_OR_RETURN(own.peer, app::make_tern_peer(rounding_of(arithmetic) == kernels::ActivationRounding::kFused
                                                          ? std::vector<std::string>{"--activation-rounding", "fused"}
                                                          : std::vector<std::string>()));
  return own;
}

Result<peer::OpenedEngine> open_reference(const app::SweepOptions& options, const peer::EngineSpec& spec,
                                          const peer::Subject& about, const std::string& arithmetic) {
  peer::OpenOptions open_options = app::reference_options("--reference");
  open_options.allow_model_mismatch = options.allow_model_mismatch;
  open_options.arithmetic = arithmetic;
  TERN_ASSIGN_OR_RETURN(peer::OpenedEngine opened, peer::open_engine(spec, about, open_options));
  if (!options.reference_arithmetic.empty() && !opened.is_live()) {
    return fail(ErrorCode::kUsage, "--reference-arithmetic",
                fmt::format("the reference is {}, not a live one", opened.spec),
                "it goes with bitnet.cpp:DIR and llama.cpp:DIR; packs and commands state their arithmetic themselves");
  }
  return opened;
}

struct Engines {
  peer::OpenedEngine reference, subject;
};

Result<Engines> open_engines(const app::SweepOptions& options, const peer::EngineSpec& reference_spec,
                             const app::OpenedModel& opened, const std::string& arithmetic) {
  const peer::Subject about = app::subject_of(options.model, opened);
  Engines engines;
  TERN_ASSIGN_OR_RETURN(engines.reference, open_reference(options, reference_spec, about, arithmetic));
  TERN_ASSIGN_OR_RETURN(engines.subject, open_subject(options, opened, about, arithmetic));
  return engines;
}

// As far as it is known before they run.
bool claim_one_arithmetic(const Engines& engines, const app::OpenedModel& opened, const std::string& arithmetic) {
  const auto claimed = [](const peer::OpenedEngine& engine) {
    return engine.details.is_object() && engine.details.contains("arithmetic") &&
                   engine.details["arithmetic"].is_string()
               ? engine.details["arithmetic"].get<std::string>()
               : std::string();
  };
  const std::string subject = engines.subject.kind == "tern" ? app::own_arithmetic(opened.view, rounding_of(arithmetic))
                                                             : claimed(engines.subject);
  return !subject.empty() && subject == claimed(engines.reference);
}

// Only --allow-model-mismatch lets such a pack come this far.
bool is_of_another_model(const peer::OpenedEngine& reference, const app::OpenedModel& opened) {
  return reference.kind == "pack" && reference.details["model"]["sha256"] != opened.model_facts.sha256;
}

// The reference's checks, told as they are made; what the sweep has to know goes into `plan` and `outcome`, and the
// arithmetic that was found into `arithmetic`.
Status check_before_sweep(const app::SweepOptions& options, const app::OpenedModel& opened,
                          const peer::OpenedEngine& reference, sweep::SweepPlan& plan, outcome::SweepOutcome& outcome,
                          std::string& arithmetic) {
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
  spdlog::info("checking the reference on {} before it is believed", scenario.name);
  auto result = app::check_reference(
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
    // It cannot run: the scenarios will say so, each with its files.
    spdlog::warn("the reference could not be checked: {}", printable(result.error().line(), 1000));
    return {};
  }
  if (const auto* failed = result->first_failed(); failed != nullptr) {
    plan.reference_distrust = fmt::format("the reference fails its check '{}': {}", failed->id, failed->evidence);
    if (result->cause && result->cause->id != "unknown") {
      plan.reference_distrust += fmt::format(" (cause: {} at {})", result->cause->id, result->cause->name);
    }
  }
  if (reference.is_live() && options.reference_arithmetic.empty()) {
    arithmetic = result->arithmetic;
  }
  outcome.reference_check = std::move(*result);
  return {};
}

Status write_scenario_reports(const outcome::SweepOutcome& sweep, const outcome::ScenarioOutcome& outcome,
                              const fs::path& folder) {
  TERN_RETURN_IF_ERROR(write_file(folder / "logits-comparison.json", report::receipt_json(sweep, outcome)));
  return write_file(folder / "report.txt", report::report_text(sweep, outcome));
}

Status write_summaries(const outcome::SweepOutcome& sweep) {
  TERN_RETURN_IF_ERROR(write_file(sweep.output_dir / "sweep.json", report::sweep_json(sweep)));
  TERN_RETURN_IF_ERROR(write_file(sweep.output_dir / "junit.xml", report::junit_xml(sweep)));
  return write_file(sweep.output_dir / "summary.md", report::summary_md(sweep));
}

std::string cosine_cell(const outcome::ScenarioOutcome& scenario) {
  const bool measured = scenario.comparison && scenario.comparison->logits && scenario.comparison->logits->min_cosine;
  return measured ? fmt::format("{:.6f}", *scenario.comparison->logits->min_cosine) : "n/a";
}

void print_table(const outcome::SweepOutcome& sweep) {
  size_t width = std::string_view("scenario").size();
  for (const auto& scenario : sweep.scenarios) {
    width = std::max(width, scenario.scenario.name.size());
  }
  fmt::print("{:<{}}  {:<16}  {:>7}  {:>9}  {:>13}  {:>6}\n", "scenario", width, "status", "tokens", "cosine",
             "equal tensors", "traces");
  for (const auto& scenario : sweep.scenarios) {
    std::string tokens = "n/a";
    std::string tensors = "n/a";
    if (const auto& comparison = scenario.comparison) {
      tokens = fmt::format("{}/{}", comparison->tokens.n_equal, comparison->tokens.n_compared);
      tensors = fmt::format("{}/{}", comparison->n_hash_equal, comparison->coverage.tensors_expected);
    }
    fmt::print("{:<{}}  {:<16}  {:>7}  {:>9}  {:>13}  {:>6}\n", scenario.scenario.name, width,
               outcome::parity_status_name(scenario.status), tokens, cosine_cell(scenario), tensors,
               scenario.sides.subject.n_traces);
  }
  for (const auto& scenario : sweep.scenarios) {
    if (scenario.status != outcome::ParityStatus::kOk && scenario.status != outcome::ParityStatus::kRustOnly) {
      fmt::print("{}: {}\n", scenario.scenario.name, printable(scenario.reason, 1000));
    }
    if (const std::string repro = report::repro_line(sweep, scenario); !repro.empty()) {
      fmt::print("{}, to reproduce: {}\n", scenario.scenario.name, repro);
    }
  }
  fmt::print("Summary: {}\n", (sweep.output_dir / "summary.md").string());
}

void tell_before_running(const app::OpenedModel& opened, const outcome::SweepOutcome& sweep) {
  for (const std::string& warning : opened.tokenizer.warnings()) {
    spdlog::warn("{}", printable(warning, 1000));
  }
  for (const std::string& disagreement : sweep.tokenizer.disagreements) {
    spdlog::warn("tokenizer: {}", printable(disagreement, 1000));
  }
  const outcome::ReferenceFacts& reference = sweep.reference;
  if (reference.kind == "none") {
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

// What it is; of a command, also what is in the files that it names: the program, a script.
Result<Json> engine_identity(const peer::OpenedEngine& engine) {
  Json files = Json::object();
  if (engine.kind == "command") {
    TERN_ASSIGN_OR_RETURN(const peer::EngineSpec spec, peer::parse_engine_spec(engine.spec, "command"));
    TERN_ASSIGN_OR_RETURN(std::vector<std::string> words, peer::split_command(spec.argument, "command"));
    words.front() = find_program(words.front()).value_or(words.front());
    for (const std::string& word : words) {
      std::error_code error;
      if (fs::is_regular_file(word, error)) {
        TERN_ASSIGN_OR_RETURN(files[word], sha256_of_file(word));
      }
    }
  }
  return Json{{"kind", engine.kind},
              {"spec", engine.spec},
              {"id", engine.id},
              {"details", engine.details},
              {"files", std::move(files)}};
}

// Everything that has a say in the result, so that --resume does not put two sweeps into one report. Of files, what is
// in them counts, and not where they lie.
Result<Json> everything_asked(const app::SweepOptions& options, const app::OpenedModel& opened,
                              const sweep::SweepPlan& plan, const Engines& engines) {
  TERN_ASSIGN_OR_RETURN(Json subject, engine_identity(engines.subject));
  TERN_ASSIGN_OR_RETURN(Json reference, engine_identity(engines.reference));
  TERN_ASSIGN_OR_RETURN(std::string program, sha256_of_file("/proc/self/exe"));
  std::string tolerances;
  if (!options.tolerances.empty()) {
    TERN_ASSIGN_OR_RETURN(tolerances, sha256_of_file(options.tolerances));
  }
  Json scenarios = Json::array();
  for (const outcome::Scenario& scenario : plan.scenarios) {
    scenarios.push_back({{"name", scenario.name},
                         {"prompt", scenario.prompt},
                         {"token_ids", scenario.token_ids},
                         {"max_tokens", scenario.max_tokens},
                         {"description", scenario.description}});
  }
  return Json{{"tern", {{"version", app::version()}, {"SHA-256", std::move(program)}}},
              {"model", {{"SHA-256", opened.model_facts.sha256}}},
              {"tokenizer", {{"SHA-256", opened.tokenizer_facts.sha256}}},
              {"scenarios", std::move(scenarios)},
              {"subject", std::move(subject)},
              {"reference", std::move(reference)},
              {"--threads", plan.threads},
              {"--timeout", plan.timeout_s},
              {"--oracle", app::oracle_word(options.ask)},
              {"--check-reference", options.check_reference},
              {"--reference-arithmetic", options.reference_arithmetic},
              {"--require-reference", options.require_reference},
              {"--allow-model-mismatch", options.allow_model_mismatch},
              {"--exact", options.exact},
              {"--tolerant", options.tolerant},
              {"--dump-tensors", options.dump_tensors},
              {"--stop-at-divergence", options.stop_at_divergence},
              {"--tolerances", tolerances},
              {"environment", sweep::describe_environment(plan.threads, plan.timeout_s)}};
}

// From here on, what engines do is kept for --resume.
Result<std::unique_ptr<sweep::KeptRuns>> keep_runs(const app::SweepOptions& options, const app::OpenedModel& opened,
                                                   const sweep::SweepPlan& plan, const Engines& engines) {
  TERN_ASSIGN_OR_RETURN(const Json asked, everything_asked(options, opened, plan, engines));
  TERN_ASSIGN_OR_RETURN(auto kept_runs, sweep::KeptRuns::open(options.output_dir, asked, options.resume));
  const std::vector<std::string> earlier = kept_runs->earlier();
  if (options.resume && earlier.empty()) {
    spdlog::info("--resume: {} holds nothing of an unfinished sweep, so everything is run", options.output_dir);
  } else if (options.resume) {
    spdlog::info("--resume: engine runs that had ended: {}",
                 printable(fmt::format("{}", fmt::join(earlier, ", ")), 1000));
  }
  return kept_runs;
}

int tell_interrupted(int signal, const sweep::SweepPlan& plan, const outcome::SweepOutcome& outcome) {
  fmt::print(stderr, "\ntern: interrupted; {} of {} scenarios are complete in {}{}\n", outcome.scenarios.size(),
             plan.scenarios.size(), outcome.output_dir.string(),
             plan.kept_runs->has_any() ? "; the same command with --resume goes on from here" : "");
  return 128 + signal;
}

Result<int> run_to_the_end(const sweep::SweepPlan& plan, sweep::OutputFolder& output, bool resume,
                           outcome::SweepOutcome& outcome) {
  {
    const auto progress = app::make_sweep_progress(plan.scenarios.size(), ::isatty(STDERR_FILENO) == 1);
    TERN_RETURN_IF_ERROR(sweep::run_sweep(plan, output, write_scenario_reports, *progress, outcome));
  }
  if (const int signal = plan.interrupt->signal(); signal != 0) {
    return tell_interrupted(signal, plan, outcome);
  }
  if (resume) {
    outcome.resumed = plan.kept_runs->resumption();
    spdlog::info("resumed: {}", report::resumption_text(*outcome.resumed));
    for (const std::string& run : outcome.resumed->run_again) {
      spdlog::warn("was run again, since it could not be taken over: {}", printable(run, 1000));
    }
  }
  TERN_RETURN_IF_ERROR(write_summaries(outcome));
  print_table(outcome);
  std::fflush(stdout);
  if (const Status removed = plan.kept_runs->remove(); !removed) {
    spdlog::warn("{}", removed.error().line());  // the verdict stands all the same
  }
  return outcome::exit_code(outcome);
}

// As the reports shall repeat it: from the start.
std::vector<std::string> typed_command_without_resume() {
  std::vector<std::string> words = app::typed_command();
  std::erase(words, "--resume");
  return words;
}

Status fill_in(outcome::SweepOutcome& outcome, const app::SweepOptions& options, const app::OpenedModel& opened,
               const peer::OpenedEngine& reference, const sweep::SweepPlan& plan) {
  outcome.tern_version = app::version();
  outcome.timestamp = sweep::utc_now();
  outcome.output_dir = options.output_dir;
  outcome.command = typed_command_without_resume();
  outcome.model = opened.model_facts;
  outcome.tokenizer = opened.tokenizer_facts;
  outcome.reference = facts_of(reference);
  outcome.reference_required = options.require_reference;
  outcome.timeout_s = plan.timeout_s;
  outcome.environment = sweep::describe_environment(plan.threads, plan.timeout_s);
  TERN_ASSIGN_OR_RETURN(outcome.repro, app::repro_of(options, plan, outcome.reference));
  return {};
}

Result<int> sweep(const app::SweepOptions& options) {
  TERN_ASSIGN_OR_RETURN(const peer::RunSetting setting, app::run_setting(options.setting));
  sweep::SweepPlan plan(setting);
  TERN_ASSIGN_OR_RETURN(const peer::EngineSpec reference_spec,
                        peer::parse_engine_spec(options.reference, "--reference"));
  plan.scenarios = sweep::builtin_scenarios();
  if (!options.scenarios.empty()) {
    TERN_ASSIGN_OR_RETURN(plan.scenarios, sweep::read_scenarios(options.scenarios));
  }
  if (!options.tolerances.empty()) {
    TERN_ASSIGN_OR_RETURN(plan.compare.tolerances, sweep::read_tolerances(options.tolerances));
  }
  TERN_ASSIGN_OR_RETURN(std::vector<outcome::Scenario> chosen, sweep::scenarios_named(plan.scenarios, options.only));
  TERN_ASSIGN_OR_RETURN(const app::OpenedModel opened, app::open_model_and_tokenizer(options.model, options.tokenizer));
  TERN_ASSIGN_OR_RETURN(
      const size_t n_positions,
      check_prompts(opened, plan.scenarios, options.scenarios.empty() ? "built-in scenarios" : options.scenarios));
  // Now rather than when there are results to write, which may be after minutes.
  TERN_ASSIGN_OR_RETURN(sweep::OutputFolder output, open_output(options.output_dir, chosen));
  const Interrupt interrupt;
  plan.interrupt = &interrupt;
  plan.model = options.model;
  plan.tokenizer = options.tokenizer;

  outcome::SweepOutcome outcome;
  std::string arithmetic = options.reference_arithmetic;
  TERN_ASSIGN_OR_RETURN(Engines engines, open_engines(options, reference_spec, opened, arithmetic));
  TERN_ASSIGN_OR_RETURN(const auto kept_runs, keep_runs(options, opened, plan, engines));
  plan.kept_runs = kept_runs.get();
  engines.reference.peer = kept_runs->keep(std::move(engines.reference.peer));
  TERN_RETURN_IF_ERROR(check_before_sweep(options, opened, engines.reference, plan, outcome, arithmetic));
  if (interrupt.signal() != 0) {
    outcome.output_dir = options.output_dir;
    return tell_interrupted(interrupt.signal(), plan, outcome);
  }
  if (arithmetic != options.reference_arithmetic) {
    TERN_ASSIGN_OR_RETURN(engines, open_engines(options, reference_spec, opened, arithmetic));
    engines.reference.peer = kept_runs->keep(std::move(engines.reference.peer), arithmetic);
  }
  engines.subject.peer = kept_runs->keep(std::move(engines.subject.peer), arithmetic);
  TERN_ASSIGN_OR_RETURN(arbiter::OracleEngines oracle, app::oracle_engines());
  kept_runs->keep(oracle);
  plan.why_no_oracle = is_of_another_model(engines.reference, opened)
                           ? "the reference is of another model, which the oracle has not seen"
                           : app::why_no_oracle(options.ask, opened.view, n_positions);
  plan.oracle = plan.why_no_oracle.empty() ? &oracle : nullptr;
  const bool may_look = options.ask != app::AskOracle::kNever && !is_of_another_model(engines.reference, opened);
  plan.close_look = plan.oracle == nullptr && may_look && app::check_computable(opened.view) ? &oracle : nullptr;
  // Only now: the checks, and whether the oracle is asked, are the whole sweep's, whichever part of it runs.
  plan.scenarios = std::move(chosen);
  // Where the other side has values, a difference can be measured, if this one keeps its own.
  plan.dump_tensors = options.dump_tensors || engines.reference.has_values || plan.oracle != nullptr;
  plan.stop_at_divergence = options.stop_at_divergence;
  plan.equal_bits = options.exact || (!options.tolerant && claim_one_arithmetic(engines, opened, arithmetic));
  plan.subject = engines.subject.peer.get();
  plan.reference = engines.reference.peer.get();
  plan.reference_was_chosen = reference_spec.kind != peer::EngineKind::kAuto;
  plan.compare.exactness = app::exactness_of(options.exact, options.tolerant);
  TERN_RETURN_IF_ERROR(fill_in(outcome, options, opened, engines.reference, plan));
  tell_before_running(opened, outcome);
  return run_to_the_end(plan, output, options.resume, outcome);
}

}  // namespace

void add_sweep(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("sweep", "Cross-validate an engine over scenarios and write every report");
  auto options = std::make_shared<app::SweepOptions>();
  command->add_option("model", options->model, "The GGUF model")->required();
  command->add_option("tokenizer", options->tokenizer, "Its tokenizer.json (or a GGUF with a vocabulary)")->required();
  command->add_option("output_dir", options->output_dir, "Where the results go")->capture_default_str();
  command
      ->add_option("--reference", options->reference,
                   "What to hold it against: auto, none, pack:DIR, command:'PROGRAM ARGUMENTS', bitnet.cpp:DIR, "
                   "llama.cpp:DIR; auto is bitnet.cpp in BITNET_CPP_DIR if that is set, else the pack in reference/ "
                   "beside the model, else bitnet.cpp in ~/.cache/bitnet_cpp")
      ->capture_default_str();
  command->add_option("--reference-arithmetic", options->reference_arithmetic,
                      "What a live reference is known to follow, e.g. bitnet.cpp-x86-64: hashes must then be equal "
                      "where the subject follows it too");
  command->add_flag("--require-reference", options->require_reference, "Exit 5 when there is no reference");
  command->add_option("--subject", options->subject, "The engine under test, in the same forms; auto is tern's own")
      ->capture_default_str();
  command->add_option("--scenarios", options->scenarios, "TOML file with [[scenario]] name, prompt, max_tokens");
  command->add_option("--tolerances", options->tolerances, "TOML file with bounds of your own, by stage");
  command->add_option("--only", options->only, "Run only the scenario of this name; may be given several times")
      ->allow_extra_args(false);
  add_run_setting_options(*command, options->setting);
  command->add_flag("--allow-model-mismatch", options->allow_model_mismatch,
                    "Compare with a pack that was recorded from another model; every report says so");
  CLI::Option* exact = command->add_flag("--exact", options->exact, "Demand equal hashes whatever the engines claim");
  command->add_flag("--tolerant", options->tolerant, "Hold to tolerances even where equal bits are promised")
      ->excludes(exact);
  add_oracle_option(*command, options->ask);
  command
      ->add_option("--check-reference", options->check_reference,
                   "First check whether the reference can be believed (tern reference check): auto (where it is an "
                   "engine that runs), always, never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
  command->add_flag("--dump-tensors", options->dump_tensors,
                    "Keep every traced tensor's values, too [where a pack holds them]");
  command->add_flag("--stop-at-divergence", options->stop_at_divergence,
                    "End the engine that runs second as soon as one of its tensors differs from the other side's, and "
                    "compare only what is up to there");
  command->add_flag("--resume", options->resume,
                    "Go on with a sweep that was interrupted or killed: the same command again, with this; engine runs "
                    "that had ended are not repeated");
  command->footer(
      "Example: tern sweep models/tern-tiny/tern-tiny-i2_s.gguf models/tern-tiny/tokenizer.json /tmp/crossval\n"
      "A command may use {model} {tokenizer} {prompt} {max_tokens} {threads} {seed} {out} {trace_dir}; without any of\n"
      "them it gets --model --tokenizer --prompt --max-tokens --threads --out.");
  command->callback([options, &action] { action = [options] { return sweep(*options); }; });
}

}  // namespace tern::cli
