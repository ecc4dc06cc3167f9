#include <fmt/format.h>

#include <memory>

#include "tern/app/make_pack.h"
#include "tern/app/pack_text.h"
#include "tern/base/json_format.h"
#include "tern/base/print.h"
#include "tern/cli/command.h"
#include "tern/cli/pack_record.h"

namespace tern::cli {
namespace {

struct ShowOptions {
  std::string folder;
  bool json = false;
};

Result<int> create(const app::MakePackOptions& options) {
  TERN_ASSIGN_OR_RETURN(const trace::Pack pack, app::make_pack(options));
  print_out(app::pack_text(pack));
  return 0;
}

Result<int> show(const ShowOptions& options) {
  TERN_ASSIGN_OR_RETURN(const trace::Pack pack, trace::Pack::open(options.folder));
  print_out(options.json ? to_json_text(with_format(Document::kCommand, app::pack_json(pack))) : app::pack_text(pack));
  return 0;
}

Result<int> check(const app::CheckPackOptions& options) {
  TERN_ASSIGN_OR_RETURN(const std::string found, app::check_pack(options));
  print_out(fmt::format("{}\n", found));
  return 0;
}

void add_create(Command& pack, Action& action) {
  Command* command = pack.add_subcommand("create", "Make a pack of engine-contract folders");
  auto options = std::make_shared<app::MakePackOptions>();
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

void add_pack_check(Command& pack, Action& action) {
  Command* command = pack.add_subcommand("check", "Whether a pack is whole, and of this model");
  auto options = std::make_shared<app::CheckPackOptions>();
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
  add_pack_check(*command, action);
}

}  // namespace tern::cli
