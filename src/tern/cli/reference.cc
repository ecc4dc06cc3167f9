// `tern reference build` and `tern reference check`
#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "tern/app/checked_reference.h"
#include "tern/app/live_reference.h"
#include "tern/app/reference_build.h"
#include "tern/app/until_interrupted.h"
#include "tern/base/json_format.h"
#include "tern/base/print.h"
#include "tern/cli/command.h"
#include "tern/cli/options.h"

namespace tern::cli {
namespace {

Result<int> build(const std::string& reference) {
  TERN_ASSIGN_OR_RETURN(const peer::OpenedEngine opened, app::build_reference(reference));
  print_out(app::built_reference_text(opened));
  return 0;
}

struct CheckOptions : app::CheckReferenceOptions {
  bool json = false;
};

Result<int> check(const CheckOptions& options, const Interrupt& interrupt) {
  const auto show = [&](const std::string& text) {
    if (!options.json) {
      print_out(text);
      std::fflush(stdout);
    }
  };
  const app::ReferenceCheckProgress progress{
      .on_opened =
          [&](const peer::OpenedEngine& opened) {
            show(app::opened_reference_text(opened));
            show(fmt::format("{:<12}{}\n\n", "model", printable(options.model, 1000)));
          },
      .on_check = [&](const outcome::ReferenceCheck& done) { show(app::reference_check_text(done)); }};
  TERN_ASSIGN_OR_RETURN(const auto checked, app::check_reference(options, progress, interrupt));
  if (!checked) {
    return app::exit_code_of_signal(interrupt.signal());
  }
  show("\n" + app::conclusion_text(checked->result));
  if (options.json) {
    print_out(to_json_text(with_format(Document::kCommand, app::to_json(*checked))));
  }
  return checked->result.trusted() ? 0 : exit_code(ErrorCode::kNoVerdict);
}

void add_reference_check(Command& group, Action& action) {
  Command* command = group.add_subcommand("check", "What a reference is, and whether it can be trusted on a model");
  auto options = std::make_shared<CheckOptions>();
  command->add_option("--reference", options->reference, "As in a sweep: " + app::engine_registry().forms())
      ->capture_default_str();
  add_setting_option(*command, "--reference", options->settings);
  command->add_option("--model", options->model, "The GGUF to check it on [the bundled model]");
  command->add_option("--tokenizer", options->tokenizer,
                      "Its tokenizer.json [the one beside the model, else the GGUF's own vocabulary]");
  CommandOption* prompt = command->add_option("--prompt", options->prompt, "What to compute")->capture_default_str();
  command->add_option("--token-ids", options->token_ids, "The prompt's token ids instead: 1,2,3")
      ->delimiter(',')
      ->excludes(prompt);
  command->add_option("--max-tokens", options->max_tokens, "Tokens to generate")
      ->check(in_range(1, 1 << 20))
      ->capture_default_str();
  add_run_setting_options(*command, options->setting);
  add_oracle_option(*command, options->ask);
  command->add_flag("--json", options->json, "As JSON");
  command->footer(
      "Exit codes: 0 trusted, 4 it cannot run, 5 it fails a check.\n"
      "Example: tern reference check --reference bitnet.cpp:/opt/bitnet.cpp\n"
      "Example: tern reference check --reference llama.cpp:node_modules --model model-f16.gguf");
  command->callback([options, &action] {
    action = [options] { return app::until_interrupted([&](const Interrupt& i) { return check(*options, i); }); };
  });
}

void add_build(Command& group, Action& action) {
  Command* command =
      group.add_subcommand("build", "Compile the adapter that makes a libllama an engine, and say which library it is");
  auto reference = std::make_shared<std::string>("auto");
  command
      ->add_option("--reference", *reference,
                   app::engines_with_adapter() + "; auto is bitnet.cpp in BITNET_CPP_DIR or ~/.cache/bitnet_cpp")
      ->capture_default_str();
  command->footer(
      "Example: tern reference build --reference bitnet.cpp:/opt/bitnet.cpp\n"
      "A sweep does this by itself. Adapters are kept in ~/.cache/tern (XDG_CACHE_HOME)\n"
      "until headers, libraries or tern change.");
  command->callback([reference, &action] { action = [reference] { return build(*reference); }; });
}

}  // namespace

void add_reference(Command& app, Action& action) {
  Command* group = app.add_subcommand("reference", "Live references: bitnet.cpp, llama.cpp and their like");
  group->require_subcommand(1);
  group->footer("Example: tern reference check --reference bitnet.cpp:/opt/bitnet.cpp");
  add_build(*group, action);
  add_reference_check(*group, action);
}

}  // namespace tern::cli
