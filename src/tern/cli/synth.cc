#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "tern/arch/family.h"
#include "tern/base/file.h"
#include "tern/base/interrupt.h"
#include "tern/cli/command.h"
#include "tern/synth/synthetic_model.h"

namespace tern::cli {
namespace {

struct SynthOptions {
  std::string preset = "tiny";
  std::string architecture = "bitnet-b1.58";
  std::string weights = "i2_s";
  std::string layout;  // empty: the first of the format's
  std::string embeddings = "f16";
  std::string output;
  std::string tokenizer_output;
  uint64_t seed = 1;
};

constexpr uint64_t kQuietBytes = uint64_t{100} << 20;  // smaller models are written in an instant

void show_progress(uint64_t bytes_done, uint64_t bytes_total) {
  if (bytes_total >= kQuietBytes && isatty(STDERR_FILENO) == 1) {
    std::fprintf(stderr, "\rwriting %3.0f %%%s",
                 100.0 * static_cast<double>(bytes_done) / static_cast<double>(bytes_total),
                 bytes_done == bytes_total ? "\n" : "");
  }
}

// Formats that hold any value, and so embeddings.
std::vector<std::string> formats_of_embeddings() {
  std::vector<std::string> names = quant::format_names();
  std::erase_if(names, [](const std::string& name) {
    const quant::Format* format = quant::find_format(name);
    return format == nullptr || !format->levels.empty();
  });
  return names;
}

std::vector<std::string> family_names() {
  std::vector<std::string> names;
  for (const arch::Family& family : arch::families()) {
    names.emplace_back(family.name);
  }
  return names;
}

// All layouts of all formats that have several.
std::vector<std::string> layouts() {
  std::vector<std::string> names;
  for (const std::string& format : quant::format_names()) {
    const auto own = quant::layouts_of(format);
    names.insert(names.end(), own.begin(), own.end());
  }
  return names;
}

// The format of the projections. Errors: kUsage for a layout that belongs to another format.
Result<const quant::Format*> weights_format(const SynthOptions& options) {
  const std::vector<std::string> own = quant::layouts_of(options.weights);
  const std::string layout = options.layout.empty() && !own.empty() ? own.front() : options.layout;
  const quant::Format* format = quant::find_format(options.weights, layout);
  if (format == nullptr) {
    return fail(ErrorCode::kUsage, "--layout", fmt::format("{} is no layout of --weights {}", layout, options.weights));
  }
  return format;
}

Result<int> synth(const SynthOptions& options) {
  synth::SyntheticOptions model;
  model.shape = *synth::synthetic_shape(options.preset);  // CLI11 has checked these names
  model.architecture = options.architecture;
  model.seed = options.seed;
  model.embeddings = quant::find_format(options.embeddings);
  TERN_ASSIGN_OR_RETURN(model.weights, weights_format(options));
  const Interrupt interrupt;
  const Status written =
      synth::write_synthetic_model(options.output, model, [&](uint64_t bytes_done, uint64_t bytes_total) {
        show_progress(bytes_done, bytes_total);
        return interrupt.signal() == 0;
      });
  if (!written && interrupt.signal() != 0) {
    std::fprintf(stderr, "\ntern: interrupted; nothing was written\n");
    return 128 + interrupt.signal();
  }
  TERN_RETURN_IF_ERROR(written);
  const auto vocabulary = synth::vocabulary_of(model);
  if (!options.tokenizer_output.empty()) {
    TERN_RETURN_IF_ERROR(write_file(options.tokenizer_output, synth::synthetic_tokenizer_json(vocabulary)));
  }
  const std::string weights = model.weights->layout.empty()
                                  ? options.weights + " weights"
                                  : fmt::format("{} layout {}", model.weights->name, model.weights->layout);
  fmt::print("{}: {} {}, {} layers, vocabulary {}, {}, seed {}\n", options.output, options.architecture, options.preset,
             model.shape.n_layers, vocabulary.tokens.size(), weights, options.seed);
  return 0;
}

}  // namespace

void add_synth(Command& app, Action& action) {
  const auto options = std::make_shared<SynthOptions>();
  Command* command = app.add_subcommand("synth", "Write a seeded random model, to test and time without a download");
  command->add_option("output", options->output, "The GGUF file to write")->required();
  command->add_option("--preset", options->preset, "Shape; 2b4t is BitNet b1.58 2B4T's (1.18 GB)")
      ->check(one_of(synth::synthetic_presets()))
      ->capture_default_str();
  command->add_option("--arch", options->architecture, "Architecture")
      ->check(one_of(family_names()))
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
      ->check(one_of(layouts()));
  command->add_option("--embeddings", options->embeddings, "Format of the embedding (and output) matrix")
      ->check(one_of(formats_of_embeddings()))
      ->capture_default_str();
  command->add_option("--tokenizer-out", options->tokenizer_output,
                      "Also write the model's vocabulary as a Hugging Face tokenizer.json");
  command->footer("Example: tern synth --preset tiny --seed 7 --tokenizer-out /tmp/tokenizer.json /tmp/tiny.gguf");
  command->callback([options, &action] { action = [options] { return synth(*options); }; });
}

}  // namespace tern::cli
