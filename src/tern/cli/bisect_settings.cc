// `tern bisect settings`

#include <memory>

#include "tern/app/settings_search.h"
#include "tern/app/until_interrupted.h"
#include "tern/base/json_format.h"
#include "tern/base/print.h"
#include "tern/cli/bisect.h"
#include "tern/cli/options.h"

namespace tern::cli {
namespace {

struct SettingsOptions : app::SettingsOptions {
  bool json = false;
};

Result<int> search(const SettingsOptions& options, const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(const app::FoundSettings found, app::find_settings(options, interrupt));
  print_out(options.json ? to_json_text(with_format(Document::kCommand, app::to_json(found)))
                         : app::settings_text(found));
  return 0;
}

}  // namespace

void add_bisect_settings(Command& group, Action& action) {
  Command* command =
      group.add_subcommand("settings", "Find the settings that make one run of an engine compute other than another");
  auto options = std::make_shared<SettingsOptions>();
  command
      ->add_option(
          "--set", options->settings,
          "A setting that differs: NAME=GOOD,BAD; as often as there are such. {NAME} in --subject is replaced by "
          "its value; model, tokenizer and threads are those of the run; a setting that the engine has "
          "(--subject-option) is that; any other is an environment variable, which an empty value leaves unset")
      ->allow_extra_args(false)
      ->required();
  command->add_option("--model", options->trial.model, "The GGUF model");
  command->add_option("--subject", options->trial.subject, "The engine, in the forms of tern sweep")
      ->capture_default_str();
  add_trial_options(*command, options->trial);
  command->add_flag("--json", options->json, "As JSON");
  command->footer(
      "Exit codes: 0 found, 3 unreadable, 5 the good settings are not good or the bad ones not bad.\n"
      "Example: tern bisect settings --model m.gguf --subject 'command:./{build}/engine' --set build=old,new \\\n"
      "           --set OMP_NUM_THREADS=1,8 --set GGML_FLASH_ATTN=,1\n"
      "Example: tern bisect settings --model m.gguf --subject llama.cpp:node_modules --set flash_attention=off,on \\\n"
      "           --set cache_type_k=f16,q8_0 --set threads=1,2 --exact");
  command->callback([options, &action] {
    action = [options] { return app::until_interrupted([&](const Interrupt& i) { return search(*options, i); }); };
  });
}

}  // namespace tern::cli
