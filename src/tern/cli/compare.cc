// tern compare: two recordings held against each other.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "tern/app/repro.h"
#include "tern/app/third_opinion.h"
#include "tern/arbiter/judgement.h"
#include "tern/base/hash.h"
#include "tern/base/scratch_folder.h"
#include "tern/cli/command.h"
#include "tern/cli/options.h"
#include "tern/outcome/status.h"
#include "tern/report/report.h"
#include "tern/sweep/tolerances.h"
#include "tern/trace/pack.h"

namespace tern::cli {
namespace {

namespace fs = std::filesystem;

constexpr double kOracleTimeoutS = 600;

struct CompareArguments {
  std::string subject, reference, model, scenario, prompt, tolerances;
  app::AskOracle ask = app::AskOracle::kAuto;
  bool json = false, exact = false, tolerant = false, prompt_given = false;
};

// One side of the comparison before a scenario is chosen: a pack holds several, a run folder one.
struct Recording {
  fs::path path;
  std::optional<trace::Pack> pack;
  std::optional<trace::EngineRun> run;
};

Result<Recording> open_recording(const std::string& path) {
  Recording recording;
  recording.path = path;
  std::error_code error;
  if (fs::exists(recording.path / "pack.json", error)) {
    TERN_ASSIGN_OR_RETURN(recording.pack, trace::Pack::open(recording.path));
    return recording;
  }
  if (!fs::exists(recording.path / "result.json", error)) {
    if (!fs::exists(recording.path / "rs-run" / "result.json", error)) {
      return fail(ErrorCode::kIo, path, "holds neither result.json (a run) nor pack.json (a pack)",
                  "runs are written by `tern run --out DIR`, and by a sweep as scenario1/rs-run");
    }
    recording.path /= "rs-run";  // a sweep's scenario folder: its subject
  }
  TERN_ASSIGN_OR_RETURN(recording.run, trace::read_run_folder(recording.path));
  return recording;
}

Result<const trace::PackScenario*> choose(const trace::Pack& pack, const std::string& where,
                                          const CompareArguments& arguments) {
  std::string held;
  const trace::PackScenario* chosen = nullptr;
  for (const trace::PackScenario& scenario : pack.scenarios()) {
    held += (held.empty() ? "" : ", ") + scenario.name;
    const bool wanted = arguments.scenario.empty() ? arguments.prompt_given && scenario.prompt == arguments.prompt
                                                   : scenario.name == arguments.scenario;
    if (wanted && chosen != nullptr) {
      return fail(ErrorCode::kUsage, where, "holds that prompt more than once", "choose with --scenario: " + held);
    }
    chosen = wanted ? &scenario : chosen;
  }
  if (chosen == nullptr) {
    return fail(ErrorCode::kUsage, where, "does not say which of its scenarios is meant",
                "choose with --scenario: " + held);
  }
  return chosen;
}

// Takes the scenario out of whatever is still a pack. A run on the other side says which; otherwise the user must.
Status settle_scenario(Recording& a, Recording& b, const CompareArguments& arguments) {
  if (a.run && b.run) {
    return {};
  }
  std::string prompt;
  int max_tokens = 0;
  if (const Recording* known = a.run ? &a : b.run ? &b : nullptr; known != nullptr && arguments.scenario.empty()) {
    prompt = known->run->result.prompt;
    max_tokens = known->run->result.max_tokens;
  } else {
    const Recording& pack = a.pack ? a : b;
    TERN_ASSIGN_OR_RETURN(const trace::PackScenario* scenario, choose(*pack.pack, pack.path.string(), arguments));
    prompt = scenario->prompt;
    max_tokens = scenario->max_tokens;
  }
  for (Recording* side : {&a, &b}) {
    if (side->pack) {
      TERN_ASSIGN_OR_RETURN(side->run, side->pack->find(prompt, max_tokens));
    }
  }
  return {};
}

Json side_json(const Recording& side) {
  const trace::RunResult& result = side.run->result;
  const auto known = [](const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); };
  return {{"path", side.path.string()},
          {"engine", known(result.engine)},
          {"arithmetic", known(result.arithmetic)},
          {"model_sha256", known(result.model_sha256)},
          {"prompt", result.prompt},
          {"max_tokens", result.max_tokens},
          {"generated_tokens", result.generated_tokens}};
}

// What must be known before differences are blamed on an engine; empty if nothing.
Result<std::vector<std::string>> notes_on_models(const Recording& a, const Recording& b, const std::string& model) {
  std::vector<std::string> notes;
  const std::string& first = a.run->result.model_sha256;
  const std::string& second = b.run->result.model_sha256;
  if (!first.empty() && !second.empty() && first != second) {
    notes.push_back(
        fmt::format("the two sides ran different models ({}... and {}...)", first.substr(0, 12), second.substr(0, 12)));
  }
  if (!model.empty()) {
    TERN_ASSIGN_OR_RETURN(const std::string sha256, sha256_of_file(model));
    for (const Recording* side : {&a, &b}) {
      const std::string& of_side = side->run->result.model_sha256;
      if (of_side != sha256) {
        notes.push_back(fmt::format("{} {} {}", side->path.string(),
                                    of_side.empty() ? "does not say which model it ran; it may not be" : "did not run",
                                    model));
      }
    }
  }
  return notes;
}

// `options`: all but what concerns the oracle.
Result<arbiter::Judgement> judge_with_model(const arbiter::RunsToJudge& runs, const CompareArguments& arguments,
                                            arbiter::JudgeOptions options, const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(const gguf::View view, gguf::View::open(arguments.model));
  TERN_ASSIGN_OR_RETURN(const ScratchFolder scratch, ScratchFolder::in_temporary_folder());
  peer::RunSetting setting;
  setting.model = arguments.model;
  setting.timeout_s = kOracleTimeoutS;
  setting.interrupt = &interrupt;
  arbiter::Question question = arbiter::question_about(setting, scratch.path(), runs);
  options.why_no_oracle =
      app::why_no_oracle(arguments.ask, view, question.prompt_tokens.size() + question.fed_tokens.size());
  TERN_ASSIGN_OR_RETURN(const arbiter::OracleEngines engines, app::oracle_engines());
  options.oracle = options.why_no_oracle.empty() ? &engines : nullptr;
  return arbiter::judge(runs, std::move(question), options);
}

// This comparison alone, from anywhere.
Result<std::string> repro_of(const CompareArguments& arguments) {
  TERN_ASSIGN_OR_RETURN(app::ReproWords words, app::ReproWords::begin("compare"));
  words.add_path(arguments.subject);
  words.add_path(arguments.reference);
  if (!arguments.model.empty()) {
    words.add_option("--model", app::absolute_path(arguments.model));
    words.add_option("--oracle", app::oracle_word(arguments.ask));
  }
  words.add_option("--scenario", arguments.scenario);
  if (arguments.prompt_given) {
    words.add_option("--prompt", arguments.prompt);
  }
  if (!arguments.tolerances.empty()) {
    words.add_option("--tolerances", app::absolute_path(arguments.tolerances));
  }
  words.add_flag("--exact", arguments.exact);
  words.add_flag("--tolerant", arguments.tolerant);
  return report::shell_line(words.command());
}

void print_text(const Recording& a, const Recording& b, const std::vector<std::string>& notes,
                const arbiter::Judgement& judgement) {
  const auto print_side = [](compare::Side side, const Recording& recording) {
    fmt::print("{:<10} {} ({})\n", compare::side_name(side), printable(recording.path.string()),
               printable(recording.run->result.engine));
  };
  print_side(compare::Side::kSubject, a);
  print_side(compare::Side::kReference, b);
  fmt::print("prompt     \"{}\", {} tokens asked for\n", printable(a.run->result.prompt), a.run->result.max_tokens);
  for (const std::string& note : notes) {
    fmt::print("note       {}\n", printable(note, 1000));
  }
  fmt::print("{}", report::comparison_text(*judgement.comparison));
  if (judgement.arbitration) {
    fmt::print("\nthe oracle's opinion\n{}", report::arbitration_text(*judgement.arbitration, judgement.cause));
  } else if (!judgement.no_arbitration.empty()) {
    fmt::print("\nthe oracle was not asked: {}\n", printable(judgement.no_arbitration, 1000));
  }
}

Result<int> run_compare(const CompareArguments& arguments) {
  TERN_ASSIGN_OR_RETURN(Recording subject, open_recording(arguments.subject));
  TERN_ASSIGN_OR_RETURN(Recording reference, open_recording(arguments.reference));
  TERN_RETURN_IF_ERROR(settle_scenario(subject, reference, arguments));
  TERN_ASSIGN_OR_RETURN(const std::vector<std::string> notes, notes_on_models(subject, reference, arguments.model));
  arbiter::JudgeOptions options;
  options.compare.exactness = app::exactness_of(arguments.exact, arguments.tolerant);
  if (!arguments.tolerances.empty()) {
    TERN_ASSIGN_OR_RETURN(options.compare.tolerances, sweep::read_tolerances(arguments.tolerances));
  }
  const arbiter::RunsToJudge runs{.subject = &*subject.run, .reference = &*reference.run};
  const Interrupt interrupt;
  auto judged = arguments.model.empty() ? arbiter::judge(runs, arbiter::question_about({}, {}, runs), options)
                                        : judge_with_model(runs, arguments, options, interrupt);
  if (interrupt.signal() != 0) {
    return 128 + interrupt.signal();
  }
  TERN_ASSIGN_OR_RETURN(const arbiter::Judgement judgement, std::move(judged));
  const int code = outcome::exit_code(outcome::status_of(*judgement.verdict()));
  std::string repro;
  if (code != 0) {
    TERN_ASSIGN_OR_RETURN(repro, repro_of(arguments));
  }
  if (arguments.json) {
    Json json = report::comparison_json(*judgement.comparison);
    json["subject"] = side_json(subject);
    json["reference"] = side_json(reference);
    json["repro"] = repro.empty() ? Json(nullptr) : Json(repro);
    json["notes"] = notes;
    json["arbitration"] = judgement.arbitration ? report::arbitration_json(*judgement.arbitration) : Json(nullptr);
    json["no_arbitration_because"] = judgement.no_arbitration.empty() ? Json(nullptr) : Json(judgement.no_arbitration);
    json["cause"] = report::cause_json(judgement.cause);
    std::fputs(to_json_text(json).c_str(), stdout);
  } else {
    print_text(subject, reference, notes, judgement);
    if (!repro.empty()) {
      fmt::print("\nto reproduce: {}\n", repro);
    }
  }
  return code;
}

}  // namespace

void add_compare(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("compare", "Hold a run (A, the subject) against another one (B, the reference)");
  auto arguments = std::make_shared<CompareArguments>();
  command->add_option("A", arguments->subject, "Subject: a run folder, a sweep's scenario folder, or a pack")
      ->required();
  command->add_option("B", arguments->reference, "Reference: likewise")->required();
  command->add_option("--model", arguments->model,
                      "The GGUF that both ran: the oracle then says which side is wrong, and why");
  add_oracle_option(*command, arguments->ask);
  command->add_flag("--json", arguments->json, "Everything as JSON");
  auto* exact = command->add_flag("--exact", arguments->exact, "Demand equal hashes");
  command->add_flag("--tolerant", arguments->tolerant, "Hold to tolerances even where both claim one arithmetic")
      ->excludes(exact);
  command->add_option("--tolerances", arguments->tolerances, "TOML file with bounds of your own, by stage");
  auto* scenario = command->add_option("--scenario", arguments->scenario, "Which scenario of a pack");
  command->add_option("--prompt", arguments->prompt, "Which scenario of a pack, by its prompt")
      ->excludes(scenario)
      ->each([arguments](const std::string&) { arguments->prompt_given = true; });
  command->footer(
      "Without --exact and --tolerant, equal hashes are demanded where both sides name the same arithmetic.\n"
      "Exit codes: 0 match or within tolerance, 1 diverged, 3 unreadable, 5 the comparison proves nothing.\n"
      "Example: tern compare /tmp/crossval/scenario1/rs-run models/tern-tiny/reference");
  command->callback([arguments, &action] { action = [arguments] { return run_compare(*arguments); }; });
}

}  // namespace tern::cli
