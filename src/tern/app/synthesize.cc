#include "tern/app/synthesize.h"

#include <fmt/format.h>

#include "tern/arch/family.h"
#include "tern/base/file.h"
#include "tern/synth/synthetic_model.h"

namespace tern::app {
namespace {

Result<const quant::Format*> weights_format(const SynthesizeOptions& options) {
  const std::vector<std::string> own = quant::layouts_of(options.weights);
  const std::string layout = options.layout.empty() && !own.empty() ? own.front() : options.layout;
  const quant::Format* format = quant::find_format(options.weights, layout);
  if (format == nullptr) {
    return fail(ErrorCode::kUsage, "--layout", fmt::format("{} is no layout of --weights {}", layout, options.weights));
  }
  return format;
}

Result<synth::SyntheticOptions> synthetic_options(const SynthesizeOptions& options) {
  const std::optional<synth::SyntheticShape> shape = synth::synthetic_shape(options.preset);
  if (!shape) {
    return fail(ErrorCode::kUsage, "--preset", "there is no '" + printable(options.preset) + "'");
  }
  synth::SyntheticOptions out{.shape = *shape, .architecture = options.architecture, .seed = options.seed};
  out.embeddings = quant::find_format(options.embeddings);
  if (out.embeddings == nullptr || !out.embeddings->levels.empty()) {
    return fail(ErrorCode::kUsage, "--embeddings", printable(options.embeddings) + " cannot hold any value");
  }
  TERN_ASSIGN_OR_RETURN(out.weights, weights_format(options));
  return out;
}

}  // namespace

std::vector<std::string> synthesized_families() {
  std::vector<std::string> names;
  for (const arch::Family& family : arch::families()) {
    names.emplace_back(family.name);
  }
  return names;
}

std::vector<std::string> embedding_formats() {
  std::vector<std::string> names = quant::format_names();
  std::erase_if(names, [](const std::string& name) {
    const quant::Format* format = quant::find_format(name);
    return format == nullptr || !format->levels.empty();
  });
  return names;
}

std::vector<std::string> format_layouts() {
  std::vector<std::string> names;
  for (const std::string& format : quant::format_names()) {
    const auto own = quant::layouts_of(format);
    names.insert(names.end(), own.begin(), own.end());
  }
  return names;
}

Result<std::optional<std::string>> synthesize(const SynthesizeOptions& options,
                                              const std::function<void(uint64_t, uint64_t)>& on_progress,
                                              const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(const synth::SyntheticOptions model, synthetic_options(options));
  const Status written =
      synth::write_synthetic_model(options.output, model, [&](uint64_t bytes_done, uint64_t bytes_total) {
        on_progress(bytes_done, bytes_total);
        return interrupt.signal() == 0;
      });
  if (!written && interrupt.signal() != 0) {
    return std::optional<std::string>();
  }
  TERN_RETURN_IF_ERROR(written);
  const auto vocabulary = synth::vocabulary_of(model);
  if (!options.tokenizer_output.empty()) {
    TERN_RETURN_IF_ERROR(write_file(options.tokenizer_output, synth::synthetic_tokenizer_json(vocabulary)));
  }
  const std::string weights = model.weights->layout.empty()
                                  ? options.weights + " weights"
                                  : fmt::format("{} layout {}", model.weights->name, model.weights->layout);
  return fmt::format("{}: {} {}, {} layers, vocabulary {}, {}, seed {}", options.output, options.architecture,
                     options.preset, model.shape.n_layers, vocabulary.tokens.size(), weights, options.seed);
}

}  // namespace tern::app
