// `tern noise`
#include "tern/app/noise.h"

#include <memory>

#include "tern/app/until_interrupted.h"
#include "tern/base/json_format.h"
#include "tern/base/print.h"
#include "tern/cli/command.h"
#include "tern/cli/options.h"

namespace tern::cli {
namespace {

Result<int> noise(const app::NoiseOptions& options, const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(const app::Noise noise, app::measure_noise(options, interrupt));
  print_out(options.json ? to_json_text(with_format(Document::kCommand, app::to_json(noise))) : app::noise_text(noise));
  return noise.is_within_rounding() ? 0 : 1;
}

}  // namespace

void add_noise(Command& app, Action& action) {
  auto* command = app.add_subcommand("noise", "What rounding does in a model, stage by stage: the noise floor");
  auto options = std::make_shared<app::NoiseOptions>();
  add_one_prompt_options(*command, *options);
  command->add_option("--max-tokens", options->max_tokens, "One prefill, and one decode step less than this")
      ->check(in_range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("--recording", options->recording,
                      "Another engine's run folder or pack with values, of the same prompt, to be shown beside ours");
  command->footer(
      "Each stage is computed from what the run in question recorded of the stages before it: by the oracle, and by\n"
      "evaluations in float32 that are as right. How far these are from the oracle is the tensor's noise floor. Under\n"
      "the engines' names stands the largest multiple of it that they reach (docs/validation-framework.md).\n"
      "Exit codes: 0 all are within rounding, 1 one is not.\n"
      "Example: tern noise --recording models/tern-tiny/reference");
  command->callback([options, &action] {
    action = [options] {
      return app::until_interrupted([&](const Interrupt& interrupt) { return noise(*options, interrupt); });
    };
  });
}

}  // namespace tern::cli
