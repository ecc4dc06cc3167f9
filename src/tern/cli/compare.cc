// tern compare: two recordings held against each other.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "tern/arbiter/arbiter.h"
#include "tern/base/hash.h"
#include "tern/base/scratch_folder.h"
#include "tern/cli/command.h"
#include "tern/cli/repro.h"
#include "tern/cli/run_setting.h"
#include "tern/cli/third_opinion.h"
#include "tern/compare/compare_runs.h"
#include "tern/report/report.h"
#include "tern/sweep/tolerances.h"
#include "tern/trace/pack.h"

namespace tern::cli {
namespace {

namespace fs = std::filesystem;

constexpr double kOracleTimeoutS = 600;

struct CompareArguments {
  std::string subject, reference, model, scenario, prompt, tolerances;
  AskOracle ask = AskOracle::kAuto;
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

// What the oracle says of the two sides, where the model is given.
struct ThirdOpinion {
  std::optional<arbiter::Opinion> opinion;
  std::string why_not;
  std::optional<compare::RoundingNoise> noise;
};

Result<ThirdOpinion> ask_oracle(const Recording& subject, const Recording& reference, const CompareArguments& arguments,
                                const Interrupt& interrupt) {
  ThirdOpinion third;
  TERN_ASSIGN_OR_RETURN(const gguf::View view, gguf::View::open(arguments.model));
  TERN_ASSIGN_OR_RETURN(const ScratchFolder scratch, ScratchFolder::in_temporary_folder());
  peer::RunSetting setting;
  setting.model = arguments.model;
  setting.timeout_s = kOracleTimeoutS;
  setting.interrupt = &interrupt;
  arbiter::Question question(setting, scratch.path(), *reference.run);
  if (question.prompt_tokens.empty()) {
    question.prompt_tokens = subject.run->result.prompt_tokens;
  }
  third.why_not = question.prompt_tokens.empty()
                      ? "neither side tells the prompt's token ids"
                      : why_no_oracle(arguments.ask, view, question.prompt_tokens.size() + question.fed_tokens.size());
  if (!third.why_not.empty()) {
    return third;
  }
  TERN_ASSIGN_OR_RETURN(const arbiter::OracleEngines engines, oracle_engines());
  TERN_ASSIGN_OR_RETURN(const arbiter::Arbiter arbiter, arbiter::Arbiter::ask(engines, std::move(question)));
  TERN_ASSIGN_OR_RETURN(third.opinion, arbiter.judge(*subject.run, &*reference.run));
  third.noise = arbiter.noise();
  return third;
}

// Two sides that differ have diverged, whichever is wrong. Where they agree, a wrong subject has diverged from the
// model, and a wrong reference cannot be a measure.
compare::VerdictKind verdict_of(const compare::RunComparison& comparison, compare::Wrong wrong) {
  if (wrong == compare::Wrong::kNeither || comparison.verdict.kind == compare::VerdictKind::kDiverged) {
    return comparison.verdict.kind;
  }
  return wrong == compare::Wrong::kSubject ? compare::VerdictKind::kDiverged : compare::VerdictKind::kMistrusted;
}

// This comparison alone, from anywhere.
Result<std::string> repro_of(const CompareArguments& arguments) {
  TERN_ASSIGN_OR_RETURN(ReproWords words, ReproWords::begin("compare"));
  words.add_path(arguments.subject);
  words.add_path(arguments.reference);
  if (!arguments.model.empty()) {
    words.add_option("--model", absolute_path(arguments.model));
    words.add_option("--oracle", oracle_word(arguments.ask));
  }
  words.add_option("--scenario", arguments.scenario);
  if (arguments.prompt_given) {
    words.add_option("--prompt", arguments.prompt);
  }
  if (!arguments.tolerances.empty()) {
    words.add_option("--tolerances", absolute_path(arguments.tolerances));
  }
  words.add_flag("--exact", arguments.exact);
  words.add_flag("--tolerant", arguments.tolerant);
  return report::shell_line(words.command());
}

void print_text(const Recording& a, const Recording& b, const std::vector<std::string>& notes,
                const compare::RunComparison& comparison, const ThirdOpinion& third) {
  const auto side = [](const char* label, const Recording& recording) {
    fmt::print("{:<10} {} ({})\n", label, printable(recording.path.string()), printable(recording.run->result.engine));
  };
  side("subject", a);
  side("reference", b);
  fmt::print("prompt     \"{}\", {} tokens asked for\n", printable(a.run->result.prompt), a.run->result.max_tokens);
  for (const std::string& note : notes) {
    fmt::print("note       {}\n", printable(note, 1000));
  }
  fmt::print("{}", report::comparison_text(comparison));
  if (third.opinion) {
    fmt::print("\nthe oracle's opinion\n{}",
               report::arbitration_text(third.opinion->arbitration, third.opinion->cause));
  } else if (!third.why_not.empty()) {
    fmt::print("\nthe oracle was not asked: {}\n", printable(third.why_not, 1000));
  }
}

int exit_code_of(compare::VerdictKind kind) {
  switch (kind) {
    case compare::VerdictKind::kMatch:
    case compare::VerdictKind::kWithinTolerance:
      return 0;
    case compare::VerdictKind::kDiverged:
      return 1;
    case compare::VerdictKind::kMistrusted:
    case compare::VerdictKind::kSkipped:
    case compare::VerdictKind::kFailed:
      return exit_code(ErrorCode::kNoVerdict);
  }
  return exit_code(ErrorCode::kNoVerdict);
}

Result<int> run_compare(const CompareArguments& arguments) {
  TERN_ASSIGN_OR_RETURN(Recording subject, open_recording(arguments.subject));
  TERN_ASSIGN_OR_RETURN(Recording reference, open_recording(arguments.reference));
  TERN_RETURN_IF_ERROR(settle_scenario(subject, reference, arguments));
  TERN_ASSIGN_OR_RETURN(const std::vector<std::string> notes, notes_on_models(subject, reference, arguments.model));
  compare::CompareOptions options;
  options.exactness = exactness_of(arguments.exact, arguments.tolerant);
  ThirdOpinion third;
  if (!arguments.model.empty()) {
    const Interrupt interrupt;
    auto asked = ask_oracle(subject, reference, arguments, interrupt);
    if (interrupt.signal() != 0) {
      return 128 + interrupt.signal();
    }
    TERN_ASSIGN_OR_RETURN(third, std::move(asked));
  }
  if (!arguments.tolerances.empty()) {
    TERN_ASSIGN_OR_RETURN(options.tolerances, sweep::read_tolerances(arguments.tolerances));
  }
  if (third.noise) {
    compare::use_noise(*third.noise, options);
  }
  compare::RunComparison comparison = compare::compare_runs(*subject.run, *reference.run, options);
  const compare::Arbitration* arbitration = third.opinion ? &third.opinion->arbitration : nullptr;
  if (arbitration != nullptr && arbitration->wrong() != compare::Wrong::kNeither) {
    comparison.verdict.kind = verdict_of(comparison, arbitration->wrong());
    comparison.verdict.reason =
        arbitration->reason +
        (comparison.verdict.reason.empty() ? "" : "; held against each other: " + comparison.verdict.reason);
  }
  std::string repro;
  if (exit_code_of(comparison.verdict.kind) != 0) {
    TERN_ASSIGN_OR_RETURN(repro, repro_of(arguments));
  }
  if (arguments.json) {
    Json json = report::comparison_json(comparison);
    json["subject"] = side_json(subject);
    json["reference"] = side_json(reference);
    json["repro"] = repro.empty() ? Json(nullptr) : Json(repro);
    json["notes"] = notes;
    json["arbitration"] = arbitration != nullptr ? report::arbitration_json(*arbitration) : Json(nullptr);
    json["no_arbitration_because"] = third.why_not.empty() ? Json(nullptr) : Json(third.why_not);
    json["cause"] = report::cause_json(third.opinion ? third.opinion->cause : std::nullopt);
    std::fputs(to_json_text(json).c_str(), stdout);
  } else {
    print_text(subject, reference, notes, comparison, third);
    if (!repro.empty()) {
      fmt::print("\nto reproduce: {}\n", repro);
    }
  }
  return exit_code_of(comparison.verdict.kind);
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
