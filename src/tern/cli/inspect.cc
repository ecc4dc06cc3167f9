#include "tern/app/inspect.h"

#include <memory>

#include "tern/base/print.h"
#include "tern/cli/command.h"

namespace tern::cli {
namespace {

Result<int> print_inspection(const app::InspectOptions& options) {
  TERN_ASSIGN_OR_RETURN(const app::Inspection inspection, app::inspect(options));
  print_out(inspection.text);
  return inspection.passed ? 0 : 1;
}

}  // namespace

void add_inspect(Command& app, Action& action) {
  const auto options = std::make_shared<app::InspectOptions>();
  Command* command = app.add_subcommand("inspect", "Show a GGUF file's metadata, tensors, encodings and sizes");
  command->add_option("model", options->model, "The GGUF file")->required();
  command->add_flag("--json", options->json, "Print JSON");
  CommandOption* ln_stats = command->add_flag("--ln-stats", options->ln_stats,
                                              "Measure norm and projection weights and hold them against a gate");
  command
      ->add_option("--gate", options->gate,
                   "auto: rules by architecture and encoding; policy: rules from --policy; none: measure only")
      ->check(one_of({"auto", "none", "policy"}))
      ->capture_default_str()
      ->needs(ln_stats);
  command->add_option("--policy", options->policy, "A TOML file with the rules, for --gate policy")->needs(ln_stats);
  command->footer(
      "Exit code: 0, or 1 when the gate fails, or 3 when the file is not a valid GGUF.\n"
      "Example: tern inspect models/tern-tiny/tern-tiny-i2_s.gguf --ln-stats --gate auto");
  command->callback([options, &action] { action = [options] { return print_inspection(*options); }; });
}

}  // namespace tern::cli
