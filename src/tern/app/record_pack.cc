#include "tern/app/record_pack.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <utility>

#include "tern/app/build_facts.h"
#include "tern/app/live_reference.h"
#include "tern/app/opened_model.h"
#include "tern/base/file.h"
#include "tern/base/scratch_folder.h"
#include "tern/peer/open_engine.h"
#include "tern/sweep/environment.h"
#include "tern/sweep/scenarios.h"

namespace tern::app {
namespace fs = std::filesystem;
namespace {

// A scenario with the token ids that its prompt has today.
struct Prompt {
  outcome::Scenario scenario;
  std::vector<int32_t> token_ids;
};

Result<std::vector<Prompt>> read_prompts(const RecordPackOptions& options, const tokenizer::Tokenizer& tokenizer) {
  std::vector<outcome::Scenario> scenarios = sweep::builtin_scenarios();
  if (!options.scenarios.empty()) {
    TERN_ASSIGN_OR_RETURN(scenarios, sweep::read_scenarios(options.scenarios));
  }
  std::vector<Prompt> prompts;
  for (outcome::Scenario& scenario : scenarios) {
    auto ids = prompt_ids(tokenizer, scenario.prompt, scenario.token_ids);
    if (!ids) {
      return invalid_input(scenario.name, "prompt: " + ids.error().what);
    }
    prompts.push_back({std::move(scenario), std::move(*ids)});
  }
  return prompts;
}

Result<peer::OpenedEngine> open_live_engine(const RecordPackOptions& options, const OpenedModel& opened,
                                            const Interrupt& interrupt) {
  const peer::EngineRegistry registry = engine_registry();
  TERN_ASSIGN_OR_RETURN(const peer::EngineSpec spec, registry.parse(options.reference, "--reference"));
  const peer::EngineScheme& scheme = *registry.find(spec.scheme);
  if (!scheme.traits.runs) {
    return fail(ErrorCode::kUsage, "--reference " + printable(options.reference), "is no engine that could be recorded",
                "name one: " + registry.forms([](const peer::EngineScheme& s) { return s.traits.runs; }));
  }
  if (!scheme.traits.has_adapter && !options.arithmetic.empty()) {
    return fail(ErrorCode::kUsage, "--reference-arithmetic",
                "goes with " + registry.forms([](const peer::EngineScheme& s) { return s.traits.has_adapter; }),
                "others state their arithmetic in result.json");
  }
  peer::OpenOptions open_options = reference_options("--reference", options.settings, &interrupt);
  open_options.arithmetic = options.arithmetic;
  TERN_ASSIGN_OR_RETURN(peer::OpenedEngine engine,
                        registry.open(spec, subject_of(options.model, opened), open_options));
  if (!options.arithmetic.empty() && !engine.note.empty()) {
    return fail(ErrorCode::kUsage, "--reference-arithmetic", engine.note);  // a recording would carry it everywhere
  }
  return engine;
}

// Whether the engine ran what it was asked to run. `where` names engine and scenario.
Status check_run(const trace::EngineRun& run, const Prompt& prompt, const RecordPackOptions& options,
                 const std::string& where) {
  const bool by_ids = !prompt.scenario.token_ids.empty();
  if (by_ids && run.result.prompt_tokens.empty()) {
    return fail(ErrorCode::kEngine, where, "does not say which prompt ids it ran");
  }
  if (!by_ids && run.result.prompt != prompt.scenario.prompt) {
    return fail(ErrorCode::kEngine, where,
                fmt::format("its result.json states the prompt \"{}\", where \"{}\" was asked for",
                            printable(run.result.prompt), printable(prompt.scenario.prompt)));
  }
  if (!run.result.prompt_tokens.empty()) {
    TERN_RETURN_IF_ERROR(trace::check_prompt_tokens(where, run.result.prompt_tokens, prompt.token_ids));
  }
  if (options.contents.values && !run.values) {
    return fail(ErrorCode::kEngine, where, "wrote no tensors.safetensors, which --values requires");
  }
  return {};
}

struct Recording {
  std::vector<fs::path> run_folders;
  std::string engine, arithmetic;  // as the runs state them
};

class Recorder {
 public:
  Recorder(const RecordPackOptions& options, const peer::OpenedEngine& engine, const peer::RunSetting& setting,
           const fs::path& scratch)
      : options_(options), engine_(engine), setting_(setting), scratch_(scratch) {}

  // nullopt: interrupted.
  Result<std::optional<Recording>> run(const std::vector<Prompt>& prompts) {
    TERN_RETURN_IF_ERROR(create_folder(scratch_ / "runs"));
    TERN_RETURN_IF_ERROR(create_folder(scratch_ / "traces"));
    Recording recording;
    for (size_t i = 0; i < prompts.size(); ++i) {
      const std::string progress = fmt::format("[{}/{}] {}", i + 1, prompts.size(), prompts[i].scenario.name);
      spdlog::info("{} ...", progress);
      TERN_ASSIGN_OR_RETURN(const peer::PeerRun run, engine_.peer->run(request_of(prompts[i])));
      if (setting_.interrupt->signal() != 0) {
        return std::optional<Recording>();
      }
      TERN_RETURN_IF_ERROR(take(run, prompts[i], recording));
      spdlog::info("{}: {} tokens, {} tensors in {:.1f} s", progress, run.run->result.generated_tokens.size(),
                   run.run->trace.size(), run.process ? run.process->wall_s : 0.0);
    }
    return std::optional(std::move(recording));
  }

 private:
  peer::RunRequest request_of(const Prompt& prompt) const {
    peer::RunRequest request(setting_);
    request.prompt = prompt.scenario.prompt;
    request.token_ids = prompt.scenario.token_ids;
    request.max_tokens = prompt.scenario.max_tokens;
    request.dump_tensors = options_.contents.values && engine_.peer->abilities().dump_tensors;
    request.run_folder = scratch_ / "runs" / prompt.scenario.name;
    request.trace_folder = scratch_ / "traces" / prompt.scenario.name;
    request.output_file = scratch_ / (prompt.scenario.name + "-output.txt");
    return request;
  }

  Status take(const peer::PeerRun& run, const Prompt& prompt, Recording& recording) const {
    const std::string where = fmt::format("{}: {}", printable(engine_.spec, 1000), prompt.scenario.name);
    if (!run.run) {
      return fail(ErrorCode::kEngine, where,
                  run.last_tensor ? fmt::format("{}; the last tensor it traced is {}", run.failure, *run.last_tensor)
                                  : run.failure);
    }
    TERN_RETURN_IF_ERROR(check_run(*run.run, prompt, options_, where));
    trace::RunResult result = run.run->result;
    if (!prompt.scenario.token_ids.empty() && !result.prompt.empty()) {
      // A text made of the ids need not give these ids again: the recording must not be found by it.
      result.prompt.clear();
      TERN_RETURN_IF_ERROR(write_file(run.run->folder / "result.json", to_json_text(trace::to_json(result))));
    }
    if (recording.run_folders.empty()) {
      recording.engine = result.engine;
      recording.arithmetic = result.arithmetic;
    } else if (result.arithmetic != recording.arithmetic) {
      return fail(ErrorCode::kEngine, where,
                  fmt::format("states the arithmetic '{}', and '{}' before", printable(result.arithmetic),
                              printable(recording.arithmetic)));
    }
    recording.run_folders.push_back(run.run->folder);
    return {};
  }

  const RecordPackOptions& options_;
  const peer::OpenedEngine& engine_;
  const peer::RunSetting& setting_;
  const fs::path& scratch_;
};

Json engine_facts(const peer::OpenedEngine& opened, const std::string& engine_of_runs, const peer::RunSetting& setting,
                  const std::string& own_cpu) {
  Json facts = {{"name", opened.engine.empty() ? engine_of_runs : opened.engine}};
  if (opened.traits.is_command) {
    facts["command"] = opened.spec;
  }
  if (opened.details.is_object() && opened.details.contains("engine") && opened.details["engine"].is_object()) {
    for (const auto& [key, value] : opened.details["engine"].items()) {
      if (!facts.contains(key)) {
        facts[key] = value;
      }
    }
  }
  if (!facts.contains("cpu") || !facts["cpu"].is_string() || facts["cpu"].get<std::string>().empty()) {
    facts["cpu"] = own_cpu;
  }
  facts["threads"] = opened.peer->usual_threads(setting);
  if (!opened.settings.empty()) {
    facts["settings"] = opened.settings;
  }
  facts["recorded_by"] = fmt::format("tern {}", version());
  return facts;
}

}  // namespace

Result<std::optional<trace::Pack>> record_pack(const RecordPackOptions& options, const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(peer::RunSetting setting, run_setting(options.setting));
  setting.model = options.model;
  setting.tokenizer = options.tokenizer;
  setting.interrupt = &interrupt;
  std::error_code error;
  if (fs::exists(options.out, error)) {
    return fail(ErrorCode::kIo, options.out, "exists already", "a pack is never changed: choose a new folder");
  }
  TERN_ASSIGN_OR_RETURN(const OpenedModel opened, open_model_and_tokenizer(options.model, options.tokenizer));
  TERN_ASSIGN_OR_RETURN(const std::vector<Prompt> prompts, read_prompts(options, *opened.tokenizer));
  auto live = open_live_engine(options, opened, interrupt);
  if (interrupt.signal() != 0) {
    return std::optional<trace::Pack>();
  }
  TERN_ASSIGN_OR_RETURN(const peer::OpenedEngine engine, std::move(live));
  const bool takes_ids = engine.peer->abilities().token_ids;
  for (const Prompt& prompt : prompts) {
    if (!prompt.scenario.token_ids.empty() && !takes_ids) {
      return fail(ErrorCode::kUsage, prompt.scenario.name,
                  "its prompt is given by token ids, which this engine does not take");
    }
  }
  spdlog::info("recording {}{}", printable(engine.spec, 1000),
               engine.engine.empty() ? "" : " (" + printable(engine.engine) + ")");

  const fs::path out =
      fs::path(options.out).has_filename() ? fs::path(options.out) : fs::path(options.out).parent_path();  // "DIR/"
  TERN_ASSIGN_OR_RETURN(const ScratchFolder scratch,
                        ScratchFolder::create(fmt::format("{}.recording-{}", fs::absolute(out).string(), ::getpid())));
  TERN_ASSIGN_OR_RETURN(const std::optional<Recording> recording,
                        Recorder(options, engine, setting, scratch.path()).run(prompts));
  if (!recording) {
    return std::optional<trace::Pack>();
  }
  const trace::PackModel model = {fs::path(options.model).filename(), opened.model_facts.sha256,
                                  opened.tokenizer_facts.kind == "gguf" ? "" : opened.tokenizer_facts.sha256};
  const Json facts = engine_facts(engine, recording->engine, setting,
                                  sweep::describe_environment(setting.threads, setting.timeout_s).at("cpu"));
  TERN_ASSIGN_OR_RETURN(trace::Pack pack, trace::Pack::create(out, model, recording->arithmetic, facts,
                                                              recording->run_folders, options.contents));
  return std::optional(std::move(pack));
}

}  // namespace tern::app
