#include "tern/trace/pack.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <memory>

#include "tern/app/pack_text.h"
#include "tern/base/file.h"
#include "tern/base/hash.h"
#include "tern/base/json.h"
#include "tern/base/json_format.h"
#include "tern/cli/command.h"
#include "tern/cli/pack_record.h"
#include "tern/gguf/view.h"
#include "tern/tokenizer/tokenizer.h"

namespace tern::cli {
namespace fs = std::filesystem;
namespace {

struct CreateOptions {
  std::string model, tokenizer, engine_facts, out, arithmetic;
  std::vector<std::string> run_folders;
  std::optional<size_t> top_logits;
  bool no_values = false;
};
struct ShowOptions {
  std::string folder;
  std::string model, tokenizer;  // check only
  bool json = false;             // show only
};

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
  TERN_ASSIGN_OR_RETURN(const trace::Pack pack, trace::Pack::create(options.out, model, arithmetic, facts, run_folders,
                                                                    {options.top_logits, !options.no_values}));
  fmt::print("{}", app::pack_text(pack));
  return 0;
}

Result<int> show(const ShowOptions& options) {
  TERN_ASSIGN_OR_RETURN(const trace::Pack pack, trace::Pack::open(options.folder));
  fmt::print("{}",
             options.json ? to_json_text(with_format(Document::kCommand, app::pack_json(pack))) : app::pack_text(pack));
  return 0;
}

Status check_model(const trace::Pack& pack, const ShowOptions& options) {
  TERN_ASSIGN_OR_RETURN(const std::string sha256, sha256_of_file(options.model));
  if (sha256 != pack.model().sha256) {
    return invalid_input(options.folder,
                         fmt::format("the pack belongs to another model: it was recorded from {} (sha256 {}), this is "
                                     "{} (sha256 {})",
                                     pack.model().file_name, pack.model().sha256, options.model, sha256));
  }
  return {};
}

Status check_tokenizer(const trace::Pack& pack, const ShowOptions& options) {
  TERN_ASSIGN_OR_RETURN(const tokenizer::Tokenizer tokenizer, tokenizer::Tokenizer::open(options.tokenizer));
  for (const trace::PackScenario& scenario : pack.scenarios()) {
    const std::string where = fmt::format("{}: {}", options.folder, scenario.name);
    if (scenario.prompt_tokens.empty() || scenario.prompt.empty()) {
      continue;  // the engine did not tell its ids, or was given ids
    }
    TERN_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer.encode(scenario.prompt, true));
    TERN_RETURN_IF_ERROR(trace::check_prompt_tokens(where, scenario.prompt_tokens, ids));
  }
  return {};
}

// Prompts that were given by token ids have no text to be found by.
Result<trace::EngineRun> read_recording(const trace::Pack& pack, const trace::PackScenario& scenario) {
  return scenario.prompt.empty() ? pack.find(scenario.prompt_tokens, scenario.max_tokens)
                                 : pack.find(scenario.prompt, scenario.max_tokens);
}

// Opening has checked every file; what remains is that each recording can be read, the model, and the tokens.
Result<int> check(const ShowOptions& options) {
  TERN_ASSIGN_OR_RETURN(const trace::Pack pack, trace::Pack::open(options.folder));
  size_t n_tensors = 0;
  for (const trace::PackScenario& scenario : pack.scenarios()) {
    TERN_ASSIGN_OR_RETURN(const trace::EngineRun run, read_recording(pack, scenario));
    n_tensors += run.trace.size();
  }
  if (!options.model.empty()) {
    TERN_RETURN_IF_ERROR(check_model(pack, options));
  }
  if (!options.tokenizer.empty()) {
    TERN_RETURN_IF_ERROR(check_tokenizer(pack, options));
  }
  fmt::print("ok: {} scenarios, {} traced tensors, id {}{}\n", pack.scenarios().size(), n_tensors, pack.id(),
             options.model.empty() ? "" : ", recorded from this model");
  return 0;
}

void add_create(Command& pack, Action& action) {
  Command* command = pack.add_subcommand("create", "Make a pack of engine-contract folders");
  auto options = std::make_shared<CreateOptions>();
  command->add_option("--model", options->model, "The GGUF that was run")->required();
  command->add_option("--tokenizer", options->tokenizer, "The tokenizer that was used");
  command
      ->add_option("--engine-facts", options->engine_facts,
                   "JSON object about the engine: \"name\", and whatever else should be known (version, compiler, CPU)")
      ->required();
  command->add_option("--arithmetic", options->arithmetic,
                      "The rounding rules that its numbers follow, e.g. bitnet.cpp-x86-64 [the facts' \"arithmetic\"]");
  command
      ->add_option("--top-logits", options->top_logits,
                   "Keep only the so many largest logits of each row, and their log-sum-exp [all of them]")
      ->check(in_range(size_t{1}, size_t{1} << 31));
  command->add_flag("--no-values", options->no_values, "Leave out tensors.safetensors, where a run has it");
  command->add_option("--out", options->out, "The pack's folder; must not exist")->required();
  command->add_option("run_folder", options->run_folders, "One per scenario; its name becomes the scenario's")
      ->required();
  command->footer(
      "Example: tern pack create --model m.gguf --tokenizer tokenizer.json --engine-facts facts.json --out reference "
      "runs/scenario1 runs/scenario2");
  command->callback([options, &action] { action = [options] { return create(*options); }; });
}

void add_show(Command& pack, Action& action) {
  Command* command = pack.add_subcommand("show", "What a pack holds");
  auto options = std::make_shared<ShowOptions>();
  command->add_option("pack", options->folder, "The pack's folder")->required();
  command->add_flag("--json", options->json, "As JSON");
  command->footer("Example: tern pack show models/tern-tiny/reference --json");
  command->callback([options, &action] { action = [options] { return show(*options); }; });
}

void add_check(Command& pack, Action& action) {
  Command* command = pack.add_subcommand("check", "Whether a pack is whole, and of this model");
  auto options = std::make_shared<ShowOptions>();
  command->add_option("pack", options->folder, "The pack's folder")->required();
  command->add_option("--model", options->model, "The GGUF that it should have been recorded from");
  command->add_option("--tokenizer", options->tokenizer,
                      "A tokenizer that should give the recorded token ids for the recorded prompts");
  command->footer("Example: tern pack check models/tern-tiny/reference --model models/tern-tiny/tern-tiny-i2_s.gguf");
  command->callback([options, &action] { action = [options] { return check(*options); }; });
}

}  // namespace

void add_pack(Command& app, Action& action) {
  Command* command = app.add_subcommand("pack", "Recordings of an engine, for machines that do not have it");
  command->require_subcommand(1);
  command->footer("Example: tern pack show models/tern-tiny/reference");
  add_create(*command, action);
  add_pack_record(*command, action);
  add_show(*command, action);
  add_check(*command, action);
}

}  // namespace tern::cli
