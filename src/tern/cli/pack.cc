#include "tern/trace/pack.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <memory>

#include "tern/base/file.h"
#include "tern/base/hash.h"
#include "tern/base/json.h"
#include "tern/cli/command.h"
#include "tern/gguf/view.h"
#include "tern/tokenizer/tokenizer.h"

namespace tern::cli {
namespace fs = std::filesystem;
namespace {

struct CreateOptions {
  std::string model, tokenizer, engine_facts, out, arithmetic;
  std::vector<std::string> run_folders;
};
struct ShowOptions {
  std::string folder;
  std::string model;  // check only
  bool json = false;  // show only
};

Json pack_json(const trace::Pack& pack) {
  Json scenarios = Json::array();
  for (const trace::PackScenario& scenario : pack.scenarios()) {
    scenarios.push_back({{"name", scenario.name},
                         {"prompt", scenario.prompt},
                         {"max_tokens", scenario.max_tokens},
                         {"prompt_tokens", scenario.prompt_tokens}});
  }
  return {{"id", pack.id()},
          {"model",
           {{"file_name", pack.model().file_name},
            {"sha256", pack.model().sha256},
            {"tokenizer_sha256", pack.model().tokenizer_sha256}}},
          {"engine", pack.engine()},
          {"arithmetic", pack.arithmetic()},
          {"scenarios", std::move(scenarios)}};
}

std::string pack_text(const trace::Pack& pack) {
  const auto or_none = [](const std::string& text) {
    return text.empty() ? std::string("none given") : printable(text);
  };
  std::string out = fmt::format(
      "id          {}\nengine      {}\narithmetic  {}\nmodel       {} (sha256 {})\ntokenizer   {}\n", pack.id(),
      printable(pack.engine_name()), or_none(pack.arithmetic()), printable(pack.model().file_name),
      printable(pack.model().sha256), or_none(pack.model().tokenizer_sha256));
  for (const trace::PackScenario& scenario : pack.scenarios()) {
    out += fmt::format("{}: \"{}\" ({} prompt tokens), {} to generate\n", scenario.name, printable(scenario.prompt),
                       scenario.prompt_tokens.size(), scenario.max_tokens);
  }
  return out;
}

// --arithmetic, or the facts' own key; empty: nothing is claimed, and comparisons hold to tolerances.
Result<std::string> arithmetic_from(const CreateOptions& options, const Json& facts) {
  if (!options.arithmetic.empty() || !facts.contains("arithmetic")) {
    return options.arithmetic;
  }
  return json_string(facts, "arithmetic", options.engine_facts);
}

Result<int> create(const CreateOptions& options) {
  TERN_ASSIGN_OR_RETURN(const Json facts, read_json_file(options.engine_facts, uint64_t{1} << 20));
  TERN_RETURN_IF_ERROR(json_string(facts, "name", options.engine_facts));
  TERN_ASSIGN_OR_RETURN(const std::string arithmetic, arithmetic_from(options, facts));
  TERN_RETURN_IF_ERROR(gguf::View::open(options.model));
  trace::PackModel model;
  model.file_name = fs::path(options.model).filename();
  TERN_ASSIGN_OR_RETURN(model.sha256, sha256_of_file(options.model));
  if (!options.tokenizer.empty()) {
    TERN_ASSIGN_OR_RETURN(const tokenizer::Tokenizer tokenizer, tokenizer::Tokenizer::open(options.tokenizer));
    model.tokenizer_sha256 = tokenizer.sha256();
  }
  std::vector<fs::path> run_folders(options.run_folders.begin(), options.run_folders.end());
  TERN_ASSIGN_OR_RETURN(const trace::Pack pack,
                        trace::Pack::create(options.out, model, arithmetic, facts, run_folders));
  fmt::print("{}", pack_text(pack));
  return 0;
}

Result<int> show(const ShowOptions& options) {
  TERN_ASSIGN_OR_RETURN(const trace::Pack pack, trace::Pack::open(options.folder));
  fmt::print("{}", options.json ? to_json_text(pack_json(pack)) : pack_text(pack));
  return 0;
}

// Opening has checked every file; what remains is that each recording can be read, and the model.
Result<int> check(const ShowOptions& options) {
  TERN_ASSIGN_OR_RETURN(const trace::Pack pack, trace::Pack::open(options.folder));
  size_t n_tensors = 0;
  for (const trace::PackScenario& scenario : pack.scenarios()) {
    TERN_ASSIGN_OR_RETURN(const trace::EngineRun run, pack.find(scenario.prompt, scenario.max_tokens));
    n_tensors += run.trace.size();
  }
  if (!options.model.empty()) {
    TERN_ASSIGN_OR_RETURN(const std::string sha256, sha256_of_file(options.model));
    if (sha256 != pack.model().sha256) {
      return invalid_input(
          options.folder, fmt::format("the pack belongs to another model: it was recorded from {} (sha256 {}), this is "
                                      "{} (sha256 {})",
                                      pack.model().file_name, pack.model().sha256, options.model, sha256));
    }
  }
  fmt::print("ok: {} scenarios, {} traced tensors, id {}{}\n", pack.scenarios().size(), n_tensors, pack.id(),
             options.model.empty() ? "" : ", recorded from this model");
  return 0;
}

void add_create(CLI::App& pack, Action& action) {
  CLI::App* command = pack.add_subcommand("create", "Make a pack of engine-contract folders");
  auto options = std::make_shared<CreateOptions>();
  command->add_option("--model", options->model, "The GGUF that was run")->required();
  command->add_option("--tokenizer", options->tokenizer, "The tokenizer that was used");
  command
      ->add_option("--engine-facts", options->engine_facts,
                   "JSON object about the engine: \"name\", and whatever else should be known (version, compiler, CPU)")
      ->required();
  command->add_option("--arithmetic", options->arithmetic,
                      "The rounding rules that its numbers follow, e.g. bitnet.cpp-x86-64 [the facts' \"arithmetic\"]");
  command->add_option("--out", options->out, "The pack's folder; must not exist")->required();
  command->add_option("run_folder", options->run_folders, "One per scenario; its name becomes the scenario's")
      ->required();
  command->footer(
      "Example: tern pack create --model m.gguf --tokenizer tokenizer.json --engine-facts facts.json --out reference "
      "runs/scenario1 runs/scenario2");
  command->callback([options, &action] { action = [options] { return create(*options); }; });
}

void add_show(CLI::App& pack, Action& action) {
  CLI::App* command = pack.add_subcommand("show", "What a pack holds");
  auto options = std::make_shared<ShowOptions>();
  command->add_option("pack", options->folder, "The pack's folder")->required();
  command->add_flag("--json", options->json, "As JSON");
  command->footer("Example: tern pack show models/tern-tiny/reference --json");
  command->callback([options, &action] { action = [options] { return show(*options); }; });
}

void add_check(CLI::App& pack, Action& action) {
  CLI::App* command = pack.add_subcommand("check", "Whether a pack is whole, and of this model");
  auto options = std::make_shared<ShowOptions>();
  command->add_option("pack", options->folder, "The pack's folder")->required();
  command->add_option("--model", options->model, "The GGUF that it should have been recorded from");
  command->footer("Example: tern pack check models/tern-tiny/reference --model models/tern-tiny/tern-tiny-i2_s.gguf");
  command->callback([options, &action] { action = [options] { return check(*options); }; });
}

}  // namespace

void add_pack(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("pack", "Recordings of an engine, for machines that do not have it");
  command->require_subcommand(1);
  command->footer("Example: tern pack show models/tern-tiny/reference");
  add_create(*command, action);
  add_show(*command, action);
  add_check(*command, action);
}

}  // namespace tern::cli
