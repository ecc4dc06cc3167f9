// `tern noise`: what rounding does in one model on one prompt, stage by stage, and how near to it engines come that are
// right. The floors that everything is held against, for people to look at.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>

#include "tern/app/own_engine.h"
#include "tern/app/third_opinion.h"
#include "tern/app/until_interrupted.h"
#include "tern/arbiter/arbiter.h"
#include "tern/base/median.h"
#include "tern/base/scratch_folder.h"
#include "tern/cli/command.h"
#include "tern/cli/options.h"
#include "tern/kernels/dispatch.h"
#include "tern/trace/pack.h"

namespace tern::cli {
namespace fs = std::filesystem;
namespace {

struct NoiseOptions : app::OnePromptOptions {
  std::string recording;
  int max_tokens = 4;
};

struct StageRow {
  std::vector<double> floors;               // of each of its tensors
  std::optional<double> inherited;          // relative error with what was inherited, at float16's precision
  std::map<std::string, double> multiples;  // by engine: the largest

  std::optional<double> usual_floor() const { return floors.empty() ? std::nullopt : std::optional(median(floors)); }
  std::optional<double> largest_floor() const {
    return floors.empty() ? std::nullopt : std::optional(*std::max_element(floors.begin(), floors.end()));
  }
};

struct NoiseTable {
  std::vector<std::string> engines;
  std::map<trace::Stage, StageRow> rows;
};

class Measurement {
 public:
  Measurement(const NoiseOptions& options, const peer::RunSetting& setting, const fs::path& folder)
      : options_(options), setting_(setting), folder_(folder) {}

  Result<NoiseTable> run() {
    TERN_ASSIGN_OR_RETURN(const arbiter::OracleEngines engines, app::oracle_engines());
    TERN_ASSIGN_OR_RETURN(const peer::PeerRun ours, run_engine("ours", "", {}));
    TERN_ASSIGN_OR_RETURN(const arbiter::Arbiter arbiter,
                          arbiter::Arbiter::ask(engines, arbiter::Question(setting_, folder_, *ours.run)));
    for (const trace::TraceRecord& record : arbiter.oracle().trace) {
      if (const auto bound = arbiter.noise().bound(record.id)) {
        auto& inherited = table_.rows[record.id.stage].inherited;
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
    return std::move(table_);
  }

 private:
  Result<peer::PeerRun> run_engine(const std::string& name, std::string_view isa,
                                   const std::vector<std::string>& words) {
    TERN_ASSIGN_OR_RETURN(const auto engine, app::make_tern_peer(words, isa));
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
    table_.engines.push_back(name);
    for (const auto& [id, local] : isolation->errors()) {
      StageRow& row = table_.rows[id.stage];
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
  NoiseTable table_;
  int n_runs_ = 0;
};

void print(const NoiseTable& table) {
  std::string head = "| stage | floor, usual | floor, largest | inherited, float16 |";
  std::string line = "| --- | --- | --- | --- |";
  for (const std::string& engine : table.engines) {
    head += fmt::format(" {} |", engine);
    line += " --- |";
  }
  fmt::print("{}\n{}\n", head, line);
  const auto cell = [](const std::optional<double>& value) { return value ? fmt::format("{:.1e}", *value) : "-"; };
  for (const auto& [stage, row] : table.rows) {
    fmt::print("| {} | {} | {} | {} |", stage.name(), cell(row.usual_floor()), cell(row.largest_floor()),
               cell(row.inherited));
    for (const std::string& engine : table.engines) {
      const auto multiple = row.multiples.find(engine);
      fmt::print(" {} |", multiple == row.multiples.end() ? "-" : fmt::format("{:.2f}", multiple->second));
    }
    fmt::print("\n");
  }
}

Json to_json(const NoiseTable& table) {
  const auto or_null = [](const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); };
  Json json = Json::array();
  for (const auto& [stage, row] : table.rows) {
    Json multiples = Json::object();
    for (const auto& [engine, multiple] : row.multiples) {
      multiples[engine] = multiple;
    }
    json.push_back({{"stage", stage.name()},
                    {"usual_floor", or_null(row.usual_floor())},
                    {"largest_floor", or_null(row.largest_floor())},
                    {"inherited_at_float16", or_null(row.inherited)},
                    {"largest_multiple_of_floor", std::move(multiples)}});
  }
  return json;
}

double largest_multiple(const NoiseTable& table) {
  double largest = 0;
  for (const auto& [stage, row] : table.rows) {
    for (const auto& [engine, multiple] : row.multiples) {
      largest = std::max(largest, multiple);
    }
  }
  return largest;
}

Result<int> noise(const NoiseOptions& options, const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(const peer::RunSetting setting, app::run_setting(options, interrupt));
  TERN_ASSIGN_OR_RETURN(const ScratchFolder scratch, ScratchFolder::in_temporary_folder());
  TERN_ASSIGN_OR_RETURN(const NoiseTable table, Measurement(options, setting, scratch.path()).run());
  if (options.json) {
    fmt::print("{}", to_json_text(to_json(table)));
  } else {
    print(table);
    fmt::print("\nlargest multiple of a floor: {:.2f}; {} would be wrong\n", largest_multiple(table),
               compare::kFloorAllowance);
  }
  return largest_multiple(table) > compare::kFloorAllowance ? 1 : 0;
}

}  // namespace

void add_noise(Command& app, Action& action) {
  auto* command = app.add_subcommand("noise", "What rounding does in a model, stage by stage: the noise floor");
  auto options = std::make_shared<NoiseOptions>();
  add_one_prompt_options(*command, *options);
  command->add_option("--max-tokens", options->max_tokens, "One prefill, and one decode step less than this")
      ->check(in_range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("--recording", options->recording,
                      "Another engine's run folder or pack with values, of the same prompt, to be shown beside ours");
  command->footer(
      "Each stage is computed from what the run in question recorded of the stages before it: by the oracle, and by\n"
      "evaluations in float32 that are as right. How far these are from the oracle is the tensor's noise floor. Under\n"
      "the engines' names stands the largest multiple of it that they reach. docs/validation-framework.md explains "
      "it.\n"
      "Exit codes: 0 all are within rounding, 1 one is not.\n"
      "Example: tern noise --recording models/tern-tiny/reference");
  command->callback([options, &action] {
    action = [options] {
      return app::until_interrupted([&](const Interrupt& interrupt) { return noise(*options, interrupt); });
    };
  });
}

}  // namespace tern::cli
