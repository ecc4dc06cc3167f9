#include "tern/app/compare.h"

#include <fmt/format.h>

#include <algorithm>

#include "tern/app/known_graph.h"
#include "tern/app/opened_model.h"
#include "tern/app/prompt_texts.h"
#include "tern/app/repro.h"
#include "tern/app/run_setting.h"
#include "tern/app/tensor_patterns.h"
#include "tern/base/hash.h"
#include "tern/base/json_format.h"
#include "tern/base/scratch_folder.h"
#include "tern/compare/name_pattern.h"
#include "tern/outcome/status.h"
#include "tern/report/view/shell.h"
#include "tern/report/writers/comparison.h"
#include "tern/sweep/tolerances.h"
#include "tern/trace/pack.h"

namespace tern::app {
namespace {

namespace fs = std::filesystem;

constexpr double kOracleTimeoutS = 600;

// One side of the comparison before a scenario is chosen: a pack holds several, a run folder one.
struct OpenedRecording {
  fs::path path;
  std::optional<trace::Pack> pack;
  std::optional<trace::EngineRun> run;
};

Result<OpenedRecording> open_recording(const std::string& path) {
  OpenedRecording recording;
  recording.path = path;
  std::error_code error;
  if (fs::exists(recording.path / "pack.json", error)) {
    TERN_ASSIGN_OR_RETURN(recording.pack, trace::Pack::open(recording.path));
    return recording;
  }
  if (!fs::exists(recording.path / "result.json", error)) {
    const std::string run = fmt::format("{}-run", compare::file_prefix(compare::Side::kSubject));
    if (!fs::exists(recording.path / run / "result.json", error)) {
      return fail(ErrorCode::kIo, path, "holds neither result.json (a run) nor pack.json (a pack)",
                  "runs are written by `tern run --out DIR`, and by a sweep as scenario1/rs-run");
    }
    recording.path /= run;  // in a sweep's scenario folder
  }
  TERN_ASSIGN_OR_RETURN(recording.run, trace::read_run_folder(recording.path));
  return recording;
}

Result<const trace::PackScenario*> choose(const trace::Pack& pack, const std::string& where,
                                          const CompareOptions& options) {
  std::string held;
  const trace::PackScenario* chosen = nullptr;
  for (const trace::PackScenario& scenario : pack.scenarios()) {
    held += (held.empty() ? "" : ", ") + scenario.name;
    const bool wanted = options.scenario.empty() ? options.prompt && scenario.prompt == *options.prompt
                                                 : scenario.name == options.scenario;
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

struct WantedScenario {
  std::string prompt;
  std::vector<int32_t> prompt_tokens;  // where the prompt was given by these
  int max_tokens = 0;

  Result<trace::EngineRun> in(const trace::Pack& pack) const {
    return prompt.empty() && !prompt_tokens.empty() ? pack.find(prompt_tokens, max_tokens)
                                                    : pack.find(prompt, max_tokens);
  }
};

// A run on one side names the scenario; otherwise the user must.
Result<WantedScenario> scenario_of(const OpenedRecording& a, const OpenedRecording& b, const CompareOptions& options) {
  const OpenedRecording* known = a.run ? &a : b.run ? &b : nullptr;
  if (known != nullptr && options.scenario.empty()) {
    const trace::RunResult& result = known->run->result;
    return WantedScenario{result.prompt, result.prompt_tokens, result.max_tokens};
  }
  const OpenedRecording& pack = a.pack ? a : b;
  TERN_ASSIGN_OR_RETURN(const trace::PackScenario* scenario, choose(*pack.pack, pack.path.string(), options));
  return WantedScenario{scenario->prompt, scenario->prompt_tokens, scenario->max_tokens};
}

// Takes the scenario's run out of each side that is still a pack.
Result<compare::Sided<Recording>> settle_scenario(OpenedRecording a, OpenedRecording b, const CompareOptions& options) {
  if (!a.run || !b.run) {
    TERN_ASSIGN_OR_RETURN(const auto wanted, scenario_of(a, b, options));
    for (OpenedRecording* side : {&a, &b}) {
      if (side->pack) {
        TERN_ASSIGN_OR_RETURN(side->run, wanted.in(*side->pack));
      }
    }
  }
  return compare::Sided<Recording>{{a.path, std::move(*a.run)}, {b.path, std::move(*b.run)}};
}

// What must be known before differences are blamed on an engine; empty if nothing.
Result<std::vector<std::string>> notes_on_models(const compare::Sided<Recording>& sides, const std::string& model) {
  std::vector<std::string> notes;
  const std::string& first = sides.subject.run.result.model_sha256;
  const std::string& second = sides.reference.run.result.model_sha256;
  if (!first.empty() && !second.empty() && first != second) {
    notes.push_back(
        fmt::format("the two sides ran different models ({}... and {}...)", first.substr(0, 12), second.substr(0, 12)));
  }
  if (model.empty()) {
    return notes;
  }
  TERN_ASSIGN_OR_RETURN(const std::string sha256, sha256_of_file(model));
  for (const auto& [side, recording] : sides.both()) {
    const std::string& of_side = recording.run.result.model_sha256;
    if (of_side != sha256) {
      notes.push_back(fmt::format("{} {} {}", recording.path.string(),
                                  of_side.empty() ? "does not say which model it ran; it may not be" : "did not run",
                                  model));
    }
  }
  return notes;
}

// Known are the tensors of either side, those of the model's graph, and known stages.
Status check_patterns_of(const compare::Sided<Recording>& sides, const compare::CompareOptions& options) {
  return check_patterns(patterns_in(options), [&](const TensorPattern& pattern) {
    const auto has_one = [&](const trace::EngineRun& run) {
      return std::any_of(run.trace.begin(), run.trace.end(), [&](const auto& record) {
        trace::TensorId in_decode = record.id;
        in_decode.seq = std::max(in_decode.seq, 1);  // a rule for decode steps is none less where there are none
        return compare::matches(pattern.pattern, record.id) || compare::matches(pattern.pattern, in_decode);
      });
    };
    const int n_passes = std::max({sides.subject.run.result.max_tokens, sides.reference.run.result.max_tokens, 2});
    return has_one(sides.subject.run) || has_one(sides.reference.run) ||
           is_of_graph(pattern, options.graph, n_passes, 1);
  });
}

// What else is known of sides that made other ids of one prompt: whether the model's own vocabulary and the
// tokenizer.json beside it encode alike.
void add_evidence_of_tokenizers(const std::string& model, const gguf::View& view, arbiter::Judgement& judgement) {
  if (!judgement.cause || !judgement.comparison || judgement.comparison->tokens.prompt_equal) {
    return;
  }
  const auto own = tokenizer::Tokenizer::from_gguf(view);
  const auto beside = tokenizer::Tokenizer::open(tokenizer_for(model, ""));
  if (own && beside && beside->kind() != own->kind()) {
    for (const std::string& sentence : tokenizer::disagreements(*beside, *own)) {
      judgement.cause->evidence += "; " + sentence;
    }
  }
}

Result<bool> ran_known_graph(const compare::Sided<Recording>& sides, const std::string& model) {
  if (!model.empty()) {
    TERN_ASSIGN_OR_RETURN(const gguf::View view, gguf::View::open(model));
    const auto architecture = view.get_string("general.architecture");
    return architecture && !stages_of_graph(*architecture).empty();
  }
  const auto is_known = [](const trace::TraceRecord& record) { return record.id.stage.is_known(); };
  const auto& [subject, reference] = sides;
  return std::all_of(subject.run.trace.begin(), subject.run.trace.end(), is_known) &&
         std::all_of(reference.run.trace.begin(), reference.run.trace.end(), is_known);
}

// The neighbourhood of the first difference alone, from the values of a side that has them: where the model is too
// large for the oracle as a whole, or what a side inherits hides what it does itself. What is executed before the first
// difference is equal where hashes say so. Otherwise a side without values has other inputs, and is not judged.
Status look_closely(const arbiter::RunsToJudge& runs, const peer::RunSetting& setting,
                    const arbiter::OracleEngines& engines, const fs::path& scratch, arbiter::Judgement& judgement) {
  const compare::RunComparison& comparison = *judgement.comparison;
  const auto& first = comparison.exact ? comparison.first_hash_difference : comparison.first_divergence;
  const bool is_needed = !judgement.arbitration || !judgement.arbitration->someone_is_wrong();
  if (!is_needed || !first || !comparison.tokens.prompt_equal ||
      judgement.verdict() != compare::VerdictKind::kDiverged) {
    return {};
  }
  const trace::EngineRun& giver = runs.subject->values ? *runs.subject : *runs.reference;
  if (!giver.values || giver.result.prompt_tokens.empty()) {
    judgement.no_arbitration += judgement.no_arbitration.empty() ? "" : "; no values say what went into the difference";
    return {};
  }
  arbiter::Question question(setting, scratch, giver);
  question.fed_tokens.resize(std::min(question.fed_tokens.size(), static_cast<size_t>(first->seq)));
  question.look_around(*first, giver.folder);
  const auto is_known = [&](const trace::EngineRun& run) { return comparison.exact || run.values; };
  trace::EngineRun nothing;  // in place of a subject that is not judged
  nothing.result = runs.subject->result;
  const arbiter::RunsToJudge near = {.subject = is_known(*runs.subject) ? runs.subject : &nothing,
                                     .reference = is_known(*runs.reference) ? runs.reference : nullptr};
  arbiter::Judgement closer = judgement;
  TERN_RETURN_IF_ERROR(closer.arbitrate(engines, std::move(question), near));
  if (!judgement.arbitration || (closer.arbitration && closer.arbitration->someone_is_wrong())) {
    judgement = std::move(closer);
  }
  return {};
}

// `judge_options`: all but what concerns the oracle.
Result<arbiter::Judgement> judge_with_model(const arbiter::RunsToJudge& runs, const CompareOptions& options,
                                            arbiter::JudgeOptions judge_options, const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(const gguf::View view, gguf::View::open(options.model));
  TERN_ASSIGN_OR_RETURN(const ScratchFolder scratch, ScratchFolder::in_temporary_folder());
  peer::RunSetting setting;
  setting.model = options.model;
  setting.timeout_s = kOracleTimeoutS;
  setting.interrupt = &interrupt;
  arbiter::Question question = arbiter::question_about(setting, scratch.path(), runs);
  judge_options.why_no_oracle =
      why_no_oracle(options.ask, view, question.prompt_tokens.size() + question.fed_tokens.size());
  TERN_ASSIGN_OR_RETURN(const arbiter::OracleEngines engines, oracle_engines());
  judge_options.oracle = judge_options.why_no_oracle.empty() ? &engines : nullptr;
  TERN_ASSIGN_OR_RETURN(auto judgement, arbiter::judge(runs, std::move(question), judge_options));
  if (options.ask != AskOracle::kNever && check_oracle_can_compute(view)) {
    TERN_RETURN_IF_ERROR(look_closely(runs, setting, engines, scratch.path(), judgement));
  }
  add_evidence_of_tokenizers(options.model, view, judgement);
  return judgement;
}

// The command that repeats this comparison from any folder.
Result<std::string> repro_of(const CompareOptions& options) {
  TERN_ASSIGN_OR_RETURN(ReproWords words, ReproWords::begin("compare"));
  words.add_path(options.subject);
  words.add_path(options.reference);
  if (!options.model.empty()) {
    words.add_option("--model", absolute_path(options.model));
    words.add_option("--oracle", oracle_word(options.ask));
  }
  words.add_option("--scenario", options.scenario);
  if (options.prompt) {
    words.add_option("--prompt", *options.prompt);
  }
  if (!options.tolerances.empty()) {
    words.add_option("--tolerances", absolute_path(options.tolerances));
  }
  for (const std::string& pattern : options.allow_missing) {
    words.add_option("--allow-missing", pattern);
  }
  if (options.level) {
    words.add_option("--level", std::string(trace::level_name(*options.level)));
  }
  words.add_flag("--exact", options.exact);
  words.add_flag("--tolerant", options.tolerant);
  return report::shell_line(words.command());
}

Json side_json(const Recording& side) {
  const trace::RunResult& result = side.run.result;
  const auto known = [](const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); };
  return {{"path", side.path.string()},
          {"engine", known(result.engine)},
          {"arithmetic", known(result.arithmetic)},
          {"model_sha256", known(result.model_sha256)},
          {"prompt", result.prompt},
          {"max_tokens", result.max_tokens},
          {"generated_tokens", result.generated_tokens}};
}

}  // namespace

Result<std::optional<Comparison>> compare_recordings(const CompareOptions& options, const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(OpenedRecording a, open_recording(options.subject));
  TERN_ASSIGN_OR_RETURN(OpenedRecording b, open_recording(options.reference));
  Comparison comparison;
  TERN_ASSIGN_OR_RETURN(comparison.sides, settle_scenario(std::move(a), std::move(b), options));
  TERN_RETURN_IF_ERROR(check_prompts(comparison.sides.subject.run.result, comparison.sides.reference.run.result));
  TERN_ASSIGN_OR_RETURN(comparison.notes, notes_on_models(comparison.sides, options.model));
  TERN_ASSIGN_OR_RETURN(comparison.is_known_graph, ran_known_graph(comparison.sides, options.model));
  arbiter::JudgeOptions judge_options;
  judge_options.compare.exactness = exactness_of(options.exact, options.tolerant);
  if (!options.tolerances.empty()) {
    TERN_ASSIGN_OR_RETURN(judge_options.compare.tolerances, sweep::read_tolerances(options.tolerances));
  }
  judge_options.compare.allow_missing = options.allow_missing;
  judge_options.compare.level = options.level;
  if (!options.model.empty()) {
    TERN_ASSIGN_OR_RETURN(const gguf::View view, gguf::View::open(options.model));
    judge_options.compare.graph = graph_of(view);
  }
  TERN_RETURN_IF_ERROR(check_patterns_of(comparison.sides, judge_options.compare));
  const arbiter::RunsToJudge runs{.subject = &comparison.sides.subject.run,
                                  .reference = &comparison.sides.reference.run};
  auto judged = options.model.empty() ? arbiter::judge(runs, arbiter::question_about({}, {}, runs), judge_options)
                                      : judge_with_model(runs, options, judge_options, interrupt);
  if (interrupt.signal() != 0) {
    return std::optional<Comparison>();
  }
  TERN_ASSIGN_OR_RETURN(comparison.judgement, std::move(judged));
  const auto& notes = comparison.judgement.comparison->notes;
  comparison.notes.insert(comparison.notes.end(), notes.begin(), notes.end());
  comparison.exit_code = outcome::exit_code(outcome::status_of(*comparison.judgement.verdict()));
  if (comparison.exit_code != 0) {
    TERN_ASSIGN_OR_RETURN(comparison.repro, repro_of(options));
  }
  return std::optional(std::move(comparison));
}

Json to_json(const Comparison& comparison) {
  const arbiter::Judgement& judgement = comparison.judgement;
  const auto text_or_null = [](const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); };
  Json json = report::comparison_json(*judgement.comparison);
  for (const auto& [side, recording] : comparison.sides.both()) {
    json[std::string(compare::side_name(side))] = side_json(recording);
  }
  json["repro"] = text_or_null(comparison.repro);
  json["notes"] = comparison.notes;
  json["wrong"] = judgement.arbitration ? report::wrong_json(*judgement.arbitration) : Json(nullptr);
  json["arbitration"] = judgement.arbitration ? report::arbitration_json(*judgement.arbitration) : Json(nullptr);
  json["no_arbitration_because"] = text_or_null(judgement.no_arbitration);
  json["cause"] = report::cause_json(judgement.cause);
  return with_format(Document::kCommand, std::move(json));
}

std::string to_text(const Comparison& comparison) {
  std::string out;
  for (const auto& [side, recording] : comparison.sides.both()) {
    out += fmt::format("{:<10} {} ({})\n", compare::side_name(side), printable(recording.path.string()),
                       printable(recording.run.result.engine));
  }
  const trace::RunResult& subject = comparison.sides.subject.run.result;
  out += fmt::format("prompt     \"{}\", {} tokens asked for\n", printable(subject.prompt), subject.max_tokens);
  for (const std::string& note : comparison.notes) {
    out += fmt::format("note       {}\n", printable(note, 1000));
  }
  const arbiter::Judgement& judgement = comparison.judgement;
  out += report::comparison_text(report::view_of(*judgement.comparison, comparison.is_known_graph));
  if (judgement.arbitration) {
    out +=
        "\nthe oracle's opinion\n" + report::arbitration_text(report::view_of(*judgement.arbitration, judgement.cause));
  } else if (!judgement.no_arbitration.empty()) {
    out += fmt::format("\nthe oracle was not asked: {}\n", printable(judgement.no_arbitration, 1000));
  }
  return comparison.repro.empty() ? out : out + fmt::format("\nto reproduce: {}\n", comparison.repro);
}

}  // namespace tern::app
