// tern compare: two recordings held against each other.
#include "tern/app/compare.h"

#include <cstdio>
#include <memory>

#include "tern/app/until_interrupted.h"
#include "tern/cli/command.h"
#include "tern/cli/options.h"

namespace tern::cli {

void add_compare(Command& app, Action& action) {
  auto* command = app.add_subcommand("compare", "Hold a run (A, the subject) against another one (B, the reference)");
  auto options = std::make_shared<app::CompareOptions>();
  auto json = std::make_shared<bool>(false);
  command->add_option("A", options->subject, "Subject: a run folder, a sweep's scenario folder, or a pack")->required();
  command->add_option("B", options->reference, "Reference: likewise")->required();
  command->add_option("--model", options->model,
                      "The GGUF that both ran: the oracle then says which side is wrong, and why");
  add_oracle_option(*command, options->ask);
  command->add_flag("--json", *json, "Everything as JSON");
  auto* exact = command->add_flag("--exact", options->exact, "Demand equal hashes");
  command->add_flag("--tolerant", options->tolerant, "Hold to tolerances even where both claim one arithmetic")
      ->excludes(exact);
  add_level_option(*command, options->level);
  command->add_option("--tolerances", options->tolerances, "TOML file with bounds of your own, by stage");
  command
      ->add_option("--allow-missing", options->allow_missing,
                   "Pass although these tensors were not compared: the pattern of a stage (attn_*), or with a '/' of a "
                   "tensor (blk0/*); may be given several times")
      ->allow_extra_args(false);
  auto* scenario = command->add_option("--scenario", options->scenario, "Which scenario of a pack");
  command
      ->add_option(
          "--prompt", [options](const std::string& prompt) { options->prompt = prompt; },
          "Which scenario of a pack, by its prompt")
      ->excludes(scenario);
  command->footer(
      "Without --exact and --tolerant, equal hashes are demanded where both sides name the same arithmetic.\n"
      "Exit codes: 0 match or within tolerance, 1 diverged, 2 usage (other prompts, a pattern that matches nothing),\n"
      "            3 unreadable, 5 the comparison proves nothing.\n"
      "Example: tern compare /tmp/crossval/scenario1/rs-run models/tern-tiny/reference");
  command->callback([options, json, &action] {
    action = [options, json]() -> Result<int> {
      const Interrupt interrupt;
      TERN_ASSIGN_OR_RETURN(const auto comparison, app::compare_recordings(*options, interrupt));
      if (!comparison) {
        return app::exit_code_of_signal(interrupt.signal());
      }
      std::fputs((*json ? to_json_text(to_json(*comparison)) : to_text(*comparison)).c_str(), stdout);
      return comparison->exit_code;
    };
  });
}

}  // namespace tern::cli
