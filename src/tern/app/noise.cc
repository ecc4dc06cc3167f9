#include "tern/app/noise.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "tern/app/own_engine.h"
#include "tern/app/third_opinion.h"
#include "tern/arbiter/arbiter.h"
#include "tern/base/median.h"
#include "tern/base/scratch_folder.h"
#include "tern/kernels/dispatch.h"
#include "tern/trace/pack.h"

namespace tern::app {
namespace fs = std::filesystem;
namespace {

class NoiseMeasurement {
 public:
  NoiseMeasurement(const NoiseOptions& options, const peer::RunSetting& setting, const fs::path& folder)
      : options_(options), setting_(setting), folder_(folder) {}

  Result<Noise> run() {
    TERN_ASSIGN_OR_RETURN(const arbiter::OracleEngines engines, oracle_engines());
    TERN_ASSIGN_OR_RETURN(const peer::PeerRun ours, run_engine("ours", "", {}));
    TERN_ASSIGN_OR_RETURN(const arbiter::Arbiter arbiter,
                          arbiter::Arbiter::ask(engines, arbiter::Question(setting_, folder_, *ours.run)));
    for (const trace::TraceRecord& record : arbiter.oracle().trace) {
      if (const auto bound = arbiter.noise().bound(record.id)) {
        auto& inherited = noise_.stages[record.id.stage].inherited;
        inherited = std::max(inherited.value_or(0), bound->relative / compare::kRoundingAllowance);
      }
    }
    for (const kernels::KernelTable* kernels : kernels::runnable_tables()) {
      TERN_RETURN_IF_ERROR(add_engine(arbiter, std::string(kernels->name), kernels->name, {}));
    }
    TERN_RETURN_IF_ERROR(add_engine(arbiter, "fused", "", {"--activation-rounding", "fused"}));
    TERN_RETURN_IF_ERROR(add_engine(arbiter, "token by token", "", {"--token-by-token"}));
    if (!options_.recording.empty()) {
      TERN_ASSIGN_OR_RETURN(const trace::EngineRun recorded, open_recording());
      TERN_RETURN_IF_ERROR(check_prompt(recorded.result, ours.run->result));
      TERN_RETURN_IF_ERROR(add(arbiter, "recording", recorded));
    }
    return std::move(noise_);
  }

 private:
  Result<peer::PeerRun> run_engine(const std::string& name, std::string_view isa,
                                   const std::vector<std::string>& words) {
    TERN_ASSIGN_OR_RETURN(const auto engine, make_tern_peer(words, isa));
    peer::RunRequest request(setting_);
    request.prompt = options_.prompt;
    request.max_tokens = options_.max_tokens;
    request.dump_tensors = true;
    request.run_folder = folder_ / fmt::format("{}-{}", n_runs_, name);
    request.output_file = folder_ / fmt::format("{}-output.txt", n_runs_++);
    TERN_ASSIGN_OR_RETURN(peer::PeerRun run, engine->run(request));
    return run.run ? Result<peer::PeerRun>(std::move(run)) : fail(ErrorCode::kEngine, "our engine", run.failure);
  }

  Status add_engine(const arbiter::Arbiter& arbiter, const std::string& name, std::string_view isa,
                    const std::vector<std::string>& words) {
    TERN_ASSIGN_OR_RETURN(const peer::PeerRun run, run_engine(name, isa, words));
    return add(arbiter, name, *run.run);
  }

  Status add(const arbiter::Arbiter& arbiter, const std::string& name, const trace::EngineRun& run) {
    TERN_ASSIGN_OR_RETURN(const auto isolation, arbiter.isolate(run, "engine"));
    if (!isolation) {
      return invalid_input(run.folder.string(), "holds no values of its tensors",
                           "record it with --dump-tensors, or `tern pack record --values`");
    }
    noise_.engines.push_back(name);
    for (const auto& [id, local] : isolation->errors()) {
      NoiseOfStage& row = noise_.stages[id.stage];
      row.floors.push_back(local.floor.relative);
      double& multiple = row.multiples[name];
      multiple = std::max(multiple, local.multiple());
    }
    return {};
  }

  // The floors are of our prompt; a recording of another one would be held against what it has not computed.
  Status check_prompt(const trace::RunResult& recorded, const trace::RunResult& ours) const {
    const bool same = recorded.prompt_tokens.empty() ? recorded.prompt == options_.prompt
                                                     : recorded.prompt_tokens == ours.prompt_tokens;
    return same ? Status()
                : fail(ErrorCode::kUsage, "--recording " + options_.recording,
                       fmt::format("is of another prompt: \"{}\" with the ids [{}], ours is \"{}\" with [{}]",
                                   printable(recorded.prompt), fmt::join(recorded.prompt_tokens, ", "),
                                   printable(options_.prompt), fmt::join(ours.prompt_tokens, ", ")),
                       "give the recording's prompt with --prompt");
  }

  Result<trace::EngineRun> open_recording() const {
    std::error_code error;
    if (!fs::exists(fs::path(options_.recording) / "pack.json", error)) {
      return trace::read_run_folder(options_.recording);
    }
    TERN_ASSIGN_OR_RETURN(const trace::Pack pack, trace::Pack::open(options_.recording));
    return pack.find(options_.prompt, options_.max_tokens);
  }

  const NoiseOptions& options_;
  const peer::RunSetting& setting_;
  const fs::path& folder_;
  Noise noise_;
  int n_runs_ = 0;
};

}  // namespace

std::optional<double> NoiseOfStage::usual_floor() const {
  return floors.empty() ? std::nullopt : std::optional(median(floors));
}

std::optional<double> NoiseOfStage::largest_floor() const {
  return floors.empty() ? std::nullopt : std::optional(*std::max_element(floors.begin(), floors.end()));
}

double Noise::largest_multiple() const {
  double largest = 0;
  for (const auto& [stage, of_stage] : stages) {
    for (const auto& [engine, multiple] : of_stage.multiples) {
      largest = std::max(largest, multiple);
    }
  }
  return largest;
}

bool Noise::is_within_rounding() const { return largest_multiple() <= compare::kFloorAllowance; }

Result<Noise> measure_noise(const NoiseOptions& options, const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(const peer::RunSetting setting, run_setting(options, interrupt));
  TERN_ASSIGN_OR_RETURN(const ScratchFolder scratch, ScratchFolder::in_temporary_folder());
  return NoiseMeasurement(options, setting, scratch.path()).run();
}

std::string noise_text(const Noise& noise) {
  std::string text = "| stage | floor, usual | floor, largest | inherited, float16 |";
  std::string line = "| --- | --- | --- | --- |";
  for (const std::string& engine : noise.engines) {
    text += fmt::format(" {} |", engine);
    line += " --- |";
  }
  text += "\n" + line + "\n";
  const auto cell = [](const std::optional<double>& value) { return value ? fmt::format("{:.1e}", *value) : "-"; };
  for (const auto& [stage, of_stage] : noise.stages) {
    text += fmt::format("| {} | {} | {} | {} |", stage.name(), cell(of_stage.usual_floor()),
                        cell(of_stage.largest_floor()), cell(of_stage.inherited));
    for (const std::string& engine : noise.engines) {
      const auto multiple = of_stage.multiples.find(engine);
      text +=
          fmt::format(" {} |", multiple == of_stage.multiples.end() ? "-" : fmt::format("{:.2f}", multiple->second));
    }
    text += "\n";
  }
  return text + fmt::format("\nlargest multiple of a floor: {:.2f}; {} would be wrong\n", noise.largest_multiple(),
                            compare::kFloorAllowance);
}

Json to_json(const Noise& noise) {
  const auto or_null = [](const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); };
  Json stages = Json::array();
  for (const auto& [stage, of_stage] : noise.stages) {
    Json multiples = Json::object();
    for (const auto& [engine, multiple] : of_stage.multiples) {
      multiples[engine] = multiple;
    }
    stages.push_back({{"stage", stage.name()},
                      {"usual_floor", or_null(of_stage.usual_floor())},
                      {"largest_floor", or_null(of_stage.largest_floor())},
                      {"inherited_at_float16", or_null(of_stage.inherited)},
                      {"largest_multiple_of_floor", std::move(multiples)}});
  }
  return {{"stages", std::move(stages)}};
}

}  // namespace tern::app
