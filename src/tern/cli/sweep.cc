// tern sweep: a cross-validation over scenarios.
#include "tern/app/sweep.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <memory>

#include "tern/app/build_facts.h"
#include "tern/app/live_reference.h"
#include "tern/app/opened_model.h"
#include "tern/app/sweep_progress.h"
#include "tern/app/until_interrupted.h"
#include "tern/base/print.h"
#include "tern/cli/command.h"
#include "tern/cli/options.h"
#include "tern/peer/command_template.h"
#include "tern/report/writers/terminal.h"

namespace tern::cli {
namespace {

// With the bundled model where none is named.
Result<app::SweepOptions> with_model(app::SweepOptions options) {
  if (options.model.empty()) {
    options.model = app::bundled_model();
    options.tokenizer = app::tokenizer_for(options.model, "");
  }
  if (options.tokenizer.empty()) {
    return fail(ErrorCode::kUsage, "tokenizer", "is required beside a model",
                "tern sweep model.gguf tokenizer.json [output_dir]");
  }
  return options;
}

Result<int> sweep(const app::SweepOptions& asked) {
  TERN_ASSIGN_OR_RETURN(const app::SweepOptions options, with_model(asked));
  TERN_ASSIGN_OR_RETURN(const app::SweepEnd end, app::sweep_and_report(options, [](size_t n_scenarios) {
                          return app::make_sweep_progress(n_scenarios, ::isatty(STDERR_FILENO) == 1);
                        }));
  if (end.signal != 0) {
    print_err(fmt::format("\ntern: interrupted; {} of {} scenarios are complete in {}{}\n",
                          end.outcome.scenarios.size(), end.n_scenarios, end.outcome.output_dir.string(),
                          end.can_be_resumed ? "; the same command with --resume goes on from here" : ""));
    return app::exit_code_of_signal(end.signal);
  }
  const report::SweepView view = report::view_of(end.outcome);
  print_out(report::sweep_table(view));
  return view.exit_code;
}

}  // namespace

void add_sweep(Command& app, Action& action) {
  Command* command = app.add_subcommand("sweep", "Cross-validate an engine over scenarios and write every report");
  auto options = std::make_shared<app::SweepOptions>();
  command->add_option("model", options->model, "The GGUF model [the bundled model]");
  command->add_option("tokenizer", options->tokenizer, "Its tokenizer.json (or a GGUF with a vocabulary)");
  command->add_option("output_dir", options->output_dir, "Where the results go")->capture_default_str();
  command->add_option("--reference", options->reference, "What to hold it against: " + app::engine_registry().forms())
      ->capture_default_str();
  add_setting_option(*command, "--reference", options->reference_settings);
  command->add_option("--reference-arithmetic", options->reference_arithmetic,
                      "What a live reference is known to follow, e.g. bitnet.cpp-x86-64: hashes must then be equal "
                      "where the subject follows it too");
  command->add_flag("--require-reference", options->require_reference, "Exit 5 when there is no reference");
  command->add_option("--subject", options->subject, "The engine under test, in the same forms")->capture_default_str();
  add_setting_option(*command, "--subject", options->subject_settings);
  command->add_option("--scenarios", options->scenarios, "TOML file with [[scenario]] name, prompt, max_tokens");
  add_level_option(*command, options->level);
  command->add_option("--tolerances", options->tolerances, "TOML file with bounds of your own, by stage");
  command
      ->add_option("--allow-missing", options->allow_missing,
                   "Pass although these tensors were not compared: the pattern of a stage (attn_*), or with a '/' of a "
                   "tensor (blk0/*); may be given several times")
      ->allow_extra_args(false);
  command->add_option("--only", options->only, "Run only the scenario of this name; may be given several times")
      ->allow_extra_args(false);
  add_run_setting_options(*command, options->setting);
  command->add_flag("--allow-model-mismatch", options->allow_model_mismatch,
                    "Compare with a pack that was recorded from another model; every report says so");
  CommandOption* exact = command->add_flag("--exact", options->exact, "Demand equal hashes whatever the engines claim");
  command->add_flag("--tolerant", options->tolerant, "Hold to tolerances even where equal bits are promised")
      ->excludes(exact);
  add_oracle_option(*command, options->ask);
  command
      ->add_option("--check-reference", options->check_reference,
                   "First check whether the reference can be believed (tern reference check): auto (where it is an "
                   "engine that runs), always, never")
      ->check(one_of({"auto", "always", "never"}))
      ->capture_default_str();
  command
      ->add_option("--stages", options->stages,
                   "What engines record: known, the stages of known graphs; all, every node of an engine's "
                   "graph, whatever the architecture")
      ->check(one_of({"known", "all"}))
      ->capture_default_str();
  command->add_flag("--dump-tensors", options->dump_tensors,
                    "Keep every traced tensor's values, too [where a pack holds them]");
  command->add_flag("--stop-at-divergence", options->stop_at_divergence,
                    "End the engine that runs second as soon as one of its tensors differs from the other side's, and "
                    "compare only what is up to there");
  command->add_flag("--resume", options->resume,
                    "Go on with a sweep that was interrupted or killed: the same command again, with this; engine runs "
                    "that had ended are not repeated");
  command->footer(
      "Example: tern sweep models/tern-tiny/tern-tiny-i2_s.gguf models/tern-tiny/tokenizer.json /tmp/crossval\n"
      "\nEngines:\n" +
      app::engines_help() +
      fmt::format("A command may use {{{}}}, and any KEY of its settings; without a place it gets --model --tokenizer "
                  "--prompt --max-tokens --threads --out.",
                  fmt::join(peer::known_places(), "} {")));
  command->callback([options, &action] { action = [options] { return sweep(*options); }; });
}

}  // namespace tern::cli
