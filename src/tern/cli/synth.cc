#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "tern/app/synthesize.h"
#include "tern/app/until_interrupted.h"
#include "tern/base/print.h"
#include "tern/cli/command.h"
#include "tern/quant/format.h"
#include "tern/synth/synthetic_model.h"

namespace tern::cli {
namespace {

constexpr uint64_t kQuietBytes = uint64_t{100} << 20;  // smaller models are written in an instant

void show_progress(uint64_t bytes_done, uint64_t bytes_total) {
  if (bytes_total >= kQuietBytes && isatty(STDERR_FILENO) == 1) {
    std::fprintf(stderr, "\rwriting %3.0f %%%s",
                 100.0 * static_cast<double>(bytes_done) / static_cast<double>(bytes_total),
                 bytes_done == bytes_total ? "\n" : "");
  }
}

Result<int> synth(const app::SynthesizeOptions& options) {
  const Interrupt interrupt;
  TERN_ASSIGN_OR_RETURN(const auto written, app::synthesize(options, show_progress, interrupt));
  if (!written) {
    print_err("\ntern: interrupted; nothing was written\n");
    return app::exit_code_of_signal(interrupt.signal());
  }
  print_out(fmt::format("{}\n", *written));
  return 0;
}

}  // namespace

void add_synth(Command& app, Action& action) {
  const auto options = std::make_shared<app::SynthesizeOptions>();
  Command* command = app.add_subcommand("synth", "Write a seeded random model, to test and time without a download");
  command->add_option("output", options->output, "The GGUF file to write")->required();
  command->add_option("--preset", options->preset, "Shape; 2b4t is BitNet b1.58 2B4T's (1.18 GB)")
      ->check(one_of(synth::synthetic_presets()))
      ->capture_default_str();
  command->add_option("--arch", options->architecture, "Architecture")
      ->check(one_of(app::synthesized_families()))
      ->capture_default_str();
  command->add_option("--seed", options->seed, "The same seed gives the same bytes everywhere")->capture_default_str();
  command
      ->add_option(
          "--weights", options->weights,
          "Format of the projections. In those that hold any value (f16), they keep the same ternary values, or "
          "normal ones in llama")
      ->check(one_of(quant::format_names()))
      ->capture_default_str();
  command
      ->add_option("--layout", options->layout,
                   "Which of the layouts that share the format's name; default: the first of them")
      ->check(one_of(app::format_layouts()));
  command->add_option("--embeddings", options->embeddings, "Format of the embedding (and output) matrix")
      ->check(one_of(app::embedding_formats()))
      ->capture_default_str();
  command->add_option("--tokenizer-out", options->tokenizer_output,
                      "Also write the model's vocabulary as a Hugging Face tokenizer.json");
  command->footer("Example: tern synth --preset tiny --seed 7 --tokenizer-out /tmp/tokenizer.json /tmp/tiny.gguf");
  command->callback([options, &action] { action = [options] { return synth(*options); }; });
}

}  // namespace tern::cli
