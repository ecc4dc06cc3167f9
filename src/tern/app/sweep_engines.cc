#include "tern/app/sweep_engines.h"

#include <fmt/format.h>

#include "tern/app/build_facts.h"
#include "tern/app/live_reference.h"
#include "tern/app/own_engine.h"
#include "tern/base/child_process.h"
#include "tern/base/hash.h"
#include "tern/peer/command_template.h"
#include "tern/sweep/environment.h"

namespace tern::app {
namespace fs = std::filesystem;
namespace {

Result<peer::OpenedEngine> open_subject(const SweepOptions& options, const OpenedModel& opened,
                                        const peer::Subject& about, const std::string& arithmetic,
                                        const Interrupt& interrupt) {
  const peer::EngineRegistry registry = engine_registry();
  TERN_ASSIGN_OR_RETURN(const peer::EngineSpec asked, registry.parse(options.subject, "--subject"));
  const peer::EngineSpec spec = registry.as_subject(asked);
  if (registry.find(spec.scheme)->traits.is_own) {
    TERN_RETURN_IF_ERROR(check_computable(opened.view));
  }
  peer::OpenOptions open_options = reference_options("--subject", options.subject_settings, &interrupt);
  open_options.allow_model_mismatch = options.allow_model_mismatch;
  open_options.meet_arithmetic = arithmetic;
  TERN_ASSIGN_OR_RETURN(peer::OpenedEngine subject, registry.open(spec, about, open_options));
  if (!subject.peer) {
    return fail(ErrorCode::kUsage, "--subject", fmt::format("'{}' leaves nothing to validate", spec.text()));
  }
  return subject;
}

Result<peer::OpenedEngine> open_reference(const SweepOptions& options, const peer::EngineSpec& spec,
                                          const peer::Subject& about, const std::string& arithmetic,
                                          const Interrupt& interrupt) {
  const peer::EngineRegistry registry = engine_registry();
  peer::OpenOptions open_options = reference_options("--reference", options.reference_settings, &interrupt);
  open_options.allow_model_mismatch = options.allow_model_mismatch;
  open_options.arithmetic = arithmetic;
  TERN_ASSIGN_OR_RETURN(peer::OpenedEngine opened, registry.open(spec, about, open_options));
  if (!options.reference_arithmetic.empty() && !opened.traits.has_adapter) {
    return fail(
        ErrorCode::kUsage, "--reference-arithmetic",
        fmt::format("the reference is {}, which has no adapter", opened.spec),
        fmt::format("it goes with {}; others state their arithmetic themselves",
                    registry.forms([](const peer::EngineScheme& scheme) { return scheme.traits.has_adapter; })));
  }
  return opened;
}

// What it is; of a command, also what is in the files that it names: the program, a script.
Result<Json> engine_identity(const peer::OpenedEngine& engine) {
  Json files = Json::object();
  if (engine.traits.is_command) {
    const std::string command = engine.spec.substr(engine.spec.find(':') + 1);
    TERN_ASSIGN_OR_RETURN(std::vector<std::string> words, peer::split_command(command, "command"));
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
              {"details", engine.details},  // with its settings
              {"files", std::move(files)}};
}

}  // namespace

outcome::EngineFacts facts_of(const peer::OpenedEngine& opened) {
  return {.kind = opened.kind,
          .spec = opened.spec,
          .engine = opened.engine,
          .id = opened.id,
          .note = opened.note,
          .details = opened.details,
          .is_there = opened.peer != nullptr,
          .pack_folder = opened.pack_folder};
}

Result<SweepEngines> open_engines(const SweepOptions& options, const peer::EngineSpec& reference_spec,
                                  const OpenedModel& opened, const std::string& arithmetic,
                                  const Interrupt& interrupt) {
  const peer::Subject about = subject_of(options.model, opened);
  SweepEngines engines;
  TERN_ASSIGN_OR_RETURN(engines.reference, open_reference(options, reference_spec, about, arithmetic, interrupt));
  TERN_ASSIGN_OR_RETURN(engines.subject, open_subject(options, opened, about, arithmetic, interrupt));
  return engines;
}

bool claim_one_arithmetic(const SweepEngines& engines, const OpenedModel& opened, const std::string& arithmetic) {
  const auto claimed = [&](const peer::OpenedEngine& engine) {
    if (engine.traits.is_own) {
      return own_arithmetic(opened.view, rounding_to_meet(arithmetic));
    }
    return engine.details.is_object() && engine.details.contains("arithmetic") &&
                   engine.details["arithmetic"].is_string()
               ? engine.details["arithmetic"].get<std::string>()
               : std::string();
  };
  const std::string subject = claimed(engines.subject);
  return !subject.empty() && subject == claimed(engines.reference);
}

bool is_of_another_model(const peer::OpenedEngine& reference, const OpenedModel& opened) {
  return !reference.pack_folder.empty() && reference.details["model"]["sha256"] != opened.model_facts.sha256;
}

Result<Json> everything_asked(const SweepOptions& options, const OpenedModel& opened, const sweep::SweepPlan& plan,
                              const SweepEngines& engines) {
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
  return Json{{"tern", {{"version", version()}, {"SHA-256", std::move(program)}}},
              {"model", {{"SHA-256", opened.model_facts.sha256}}},
              {"tokenizer", {{"SHA-256", opened.tokenizer_facts.sha256}}},
              {"scenarios", std::move(scenarios)},
              {"subject", std::move(subject)},
              {"reference", std::move(reference)},
              {"--threads", plan.threads},
              {"--timeout", plan.timeout_s},
              {"--oracle", oracle_word(options.ask)},
              {"--check-reference", options.check_reference},
              {"--reference-arithmetic", options.reference_arithmetic},
              {"--require-reference", options.require_reference},
              {"--allow-model-mismatch", options.allow_model_mismatch},
              {"--exact", options.exact},
              {"--tolerant", options.tolerant},
              {"--level", options.level ? Json(trace::level_name(*options.level)) : Json(nullptr)},
              {"--allow-missing", options.allow_missing},
              {"--stages", options.stages},
              {"--dump-tensors", options.dump_tensors},
              {"--stop-at-divergence", options.stop_at_divergence},
              {"--tolerances", tolerances},
              {"environment", sweep::describe_environment(plan.threads, plan.timeout_s)}};
}

}  // namespace tern::app
