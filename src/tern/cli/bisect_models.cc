// `tern bisect models`

#include <memory>

#include "tern/app/models_search.h"
#include "tern/app/until_interrupted.h"
#include "tern/base/json_format.h"
#include "tern/base/print.h"
#include "tern/cli/bisect.h"
#include "tern/cli/options.h"

namespace tern::cli {
namespace {

struct ModelsOptions : app::ModelsOptions {
  bool json = false;
};

Result<int> search(const ModelsOptions& options, const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(const app::FoundModelChanges changes, app::find_model_changes(options, interrupt));
  print_out(options.json ? to_json_text(with_format(Document::kCommand, app::to_json(changes)))
                         : app::model_changes_text(changes));
  return 0;
}

}  // namespace

void add_bisect_models(Command& group, Action& action) {
  Command* command =
      group.add_subcommand("models", "Find the tensors or metadata keys that make one GGUF compute other than another");
  auto options = std::make_shared<ModelsOptions>();
  command->add_option("good", options->trial.model, "The GGUF that computes what it should")->required();
  command->add_option("bad", options->bad, "The one that does not")->required();
  command->add_option("--subject", options->trial.subject, "The engine that runs them, in the forms of tern sweep")
      ->capture_default_str();
  add_trial_options(*command, options->trial);
  command->add_flag("--json", options->json, "As JSON");
  command->footer(
      "Models between the two, the good one with parts of the bad one, are written to TMPDIR, one at a time.\n"
      "Where all tensors differ a little (another quantization), --tolerant finds a set that is enough to leave the\n"
      "tolerances; without it, one that changes a bit.\n"
      "Exit codes: 0 found, 3 unreadable, 5 the good model is not good or the bad one not bad.\n"
      "Example: tern bisect models good.gguf bad.gguf --prompt 'Once upon a time' --max-tokens 8");
  command->callback([options, &action] {
    action = [options] { return app::until_interrupted([&](const Interrupt& i) { return search(*options, i); }); };
  });
}

}  // namespace tern::cli
