// `tern validate`
#include "tern/app/validate.h"

#include <memory>

#include "tern/app/until_interrupted.h"
#include "tern/base/json_format.h"
#include "tern/base/print.h"
#include "tern/cli/command.h"

namespace tern::cli {
namespace {

struct ValidateOptions : app::ValidateOptions {
  bool json = false;
};

Result<int> validate(const ValidateOptions& options, const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(const app::Validation validation, app::validate(options, interrupt));
  if (interrupt.signal() != 0) {
    return app::exit_code_of_signal(interrupt.signal());
  }
  // Where the probe has failed, what was found before it is printed all the same.
  print_out(options.json ? to_json_text(with_format(Document::kCommand, app::to_json(validation)))
                         : app::validation_text(validation));
  if (validation.probe_error) {
    return tl::unexpected(*validation.probe_error);
  }
  return validation.passed() ? 0 : 1;
}

}  // namespace

void add_validate(Command& app, Action& action) {
  Command* command =
      app.add_subcommand("validate", "Check a model file: norms, projections, tokenizer, and a greedy probe");
  auto options = std::make_shared<ValidateOptions>();
  command->add_option("model", options->model, "The GGUF model")->required();
  command->add_option("tokenizer", options->tokenizer, "Its tokenizer.json")->required();
  command->add_option("--prompt", options->prompt, "What the probe continues")->capture_default_str();
  command->add_option("--max-tokens", options->max_tokens, "How far")->capture_default_str()->check(in_range(1, 256));
  command->add_option("--timeout", options->timeout, "Seconds for the probe [CROSSVAL_TIMEOUT_SECS, else 180]");
  command->add_flag("--json", options->json, "Everything as JSON");
  command->footer(
      "Example: tern validate models/tern-tiny/tern-tiny-i2_s.gguf models/tern-tiny/tokenizer.json\n"
      "Exit codes: 0 all passed, 1 a check failed, 3 a file cannot be read or is invalid, 4 the engine failed.");
  command->callback([options, &action] {
    action = [options] { return app::until_interrupted([&](const Interrupt& i) { return validate(*options, i); }); };
  });
}

}  // namespace tern::cli
