#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "tern/base/file.h"
#include "tern/base/interrupt.h"
#include "tern/cli/command.h"
#include "tern/gguf/synthetic_model.h"

namespace tern::cli {
namespace {

struct SynthOptions {
  std::string preset = "tiny";
  std::string architecture = "bitnet-b1.58";
  std::string weights = "i2_s";
  std::string layout = "bitnet.cpp";
  std::string embeddings = "f16";
  std::string output;
  std::string tokenizer_output;
  uint64_t seed = 1;
};

constexpr uint64_t kQuietBytes = uint64_t{100} << 20;  // smaller models are written before anyone could wonder

void show_progress(uint64_t bytes_done, uint64_t bytes_total) {
  if (bytes_total >= kQuietBytes && isatty(STDERR_FILENO) == 1) {
    std::fprintf(stderr, "\rwriting %3.0f %%%s",
                 100.0 * static_cast<double>(bytes_done) / static_cast<double>(bytes_total),
                 bytes_done == bytes_total ? "\n" : "");
  }
}

quant::Encoding encoding_named(const std::string& name) {  // one of those that CLI11 lets through
  return name == "f32" ? quant::Encoding::kF32 : name == "f16" ? quant::Encoding::kF16 : quant::Encoding::kI2S;
}

Result<int> synth(const SynthOptions& options) {
  if (options.weights != "i2_s" && options.layout != "bitnet.cpp") {
    return fail(ErrorCode::kUsage, "--layout", "goes with --weights i2_s only");
  }
  gguf::SyntheticOptions model;
  model.shape = *gguf::synthetic_shape(options.preset);  // CLI11 has checked these names
  model.architecture = options.architecture;
  model.seed = options.seed;
  model.layout = *quant::layout_from_name(options.layout);
  model.embeddings = encoding_named(options.embeddings);
  model.weights = encoding_named(options.weights);
  const Interrupt interrupt;
  const Status written =
      gguf::write_synthetic_model(options.output, model, [&](uint64_t bytes_done, uint64_t bytes_total) {
        show_progress(bytes_done, bytes_total);
        return interrupt.signal() == 0;
      });
  if (!written && interrupt.signal() != 0) {
    std::fprintf(stderr, "\ntern: interrupted; nothing was written\n");
    return 128 + interrupt.signal();
  }
  TERN_RETURN_IF_ERROR(written);
  const auto vocabulary = gguf::vocabulary_of(model);
  if (!options.tokenizer_output.empty()) {
    TERN_RETURN_IF_ERROR(write_file(options.tokenizer_output, gguf::synthetic_tokenizer_json(vocabulary)));
  }
  const std::string weights =
      options.weights == "i2_s" ? "I2_S layout " + options.layout : options.weights + " weights";
  fmt::print("{}: {} {}, {} layers, vocabulary {}, {}, seed {}\n", options.output, options.architecture, options.preset,
             model.shape.n_layers, vocabulary.tokens.size(), weights, options.seed);
  return 0;
}

}  // namespace

void add_synth(CLI::App& app, Action& action) {
  const auto options = std::make_shared<SynthOptions>();
  CLI::App* command = app.add_subcommand("synth", "Write a seeded random model, to test and time without a download");
  command->add_option("output", options->output, "The GGUF file to write")->required();
  command->add_option("--preset", options->preset, "Shape; 2b4t is BitNet b1.58 2B4T's (1.18 GB)")
      ->check(CLI::IsMember(gguf::synthetic_presets()))
      ->capture_default_str();
  command->add_option("--arch", options->architecture, "Architecture")
      ->check(CLI::IsMember({"bitnet-b1.58", "bitnet", "llama"}))
      ->capture_default_str();
  command->add_option("--seed", options->seed, "The same seed gives the same bytes everywhere")->capture_default_str();
  command
      ->add_option("--weights", options->weights,
                   "Encoding of the projections; f16 and f32 are for engines that do not know I2_S: the same ternary "
                   "values, or normal ones in llama")
      ->check(CLI::IsMember({"i2_s", "f16", "f32"}))
      ->capture_default_str();
  command->add_option("--layout", options->layout, "Which of the three layouts called I2_S")
      ->check(CLI::IsMember({"bitnet.cpp", "bitnet32", "qk256"}))
      ->capture_default_str();
  command->add_option("--embeddings", options->embeddings, "Encoding of the embedding (and output) matrix")
      ->check(CLI::IsMember({"f16", "f32"}))
      ->capture_default_str();
  command->add_option("--tokenizer-out", options->tokenizer_output,
                      "Also write the model's vocabulary as a Hugging Face tokenizer.json");
  command->footer("Example: tern synth --preset tiny --seed 7 --tokenizer-out /tmp/tokenizer.json /tmp/tiny.gguf");
  command->callback([options, &action] { action = [options] { return synth(*options); }; });
}

}  // namespace tern::cli
