#include "tern/app/bench.h"

#include <memory>

#include "tern/base/json_format.h"
#include "tern/base/print.h"
#include "tern/cli/command.h"
#include "tern/cli/options.h"

namespace tern::cli {
namespace {

struct BenchOptions : app::BenchOptions {
  bool json = false;
};

Result<int> bench(const BenchOptions& options) {
  TERN_ASSIGN_OR_RETURN(const app::BenchFigures figures, app::bench(options));
  print_out(options.json ? to_json_line(with_format(Document::kCommand, app::to_json(figures))) + "\n"
                         : app::bench_text(figures));
  return 0;
}

}  // namespace

void add_bench(Command& app, Action& action) {
  const auto options = std::make_shared<BenchOptions>();
  Command* command = app.add_subcommand("bench", "Measure prefill and decode speed (medians) and memory");
  command->add_option("--model", options->model, "The GGUF file")->required();
  command->add_option("--threads", options->threads, "Threads; default: RAYON_NUM_THREADS, or one for each core");
  command->add_option("-p", options->n_prompt, "Prompt tokens, seeded random ids")
      ->check(in_range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("-n", options->n_decode, "Tokens to decode")->check(in_range(1, 1 << 20))->capture_default_str();
  command
      ->add_option("--depth", options->depth,
                   "Positions that are in the context before the tokens to decode; default: those of the prompt")
      ->check(in_range(1, 1 << 20));
  command->add_option("-r", options->n_repetitions, "Repetitions, after one that is not counted")
      ->check(in_range(1, 1000))
      ->capture_default_str();
  add_head_copy_option(*command, options->head_copy);
  command->add_flag("--json", options->json, "Print one JSON object");
  command->footer(
      "Example: tern bench --model /tmp/2b4t.gguf --threads 2 -p 64 -n 16 -r 3 --json\n"
      "         tern bench --model /tmp/2b4t.gguf --threads 2 -p 64 -n 16 --depth 2048   (decode in a long context)");
  command->callback([options, &action] { action = [options] { return bench(*options); }; });
}

}  // namespace tern::cli
