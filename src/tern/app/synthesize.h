// A seeded random model in a file of its own, as `tern synth` writes it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/interrupt.h"

namespace tern::app {

struct SynthesizeOptions {
  std::string preset = "tiny";                // one of synth::synthetic_presets()
  std::string architecture = "bitnet-b1.58";  // one of synthesized_families()
  std::string weights = "i2_s";               // one of quant::format_names()
  std::string layout;                         // one of format_layouts(); empty: the first of the format's
  std::string embeddings = "f16";             // one of embedding_formats()
  std::string output;                         // the GGUF
  std::string tokenizer_output;               // its vocabulary as a tokenizer.json; empty: not written
  uint64_t seed = 1;
};

// What the options can be.
std::vector<std::string> synthesized_families();
// Formats that hold any value.
std::vector<std::string> embedding_formats();
// All layouts of all formats that have several.
std::vector<std::string> format_layouts();

// Returns one line that says what was written; nullopt where `interrupt` came first, and then nothing is.
// `on_progress(bytes_done, bytes_total)` is called now and then. Errors: kUsage for a name that is none of the above
// and for a layout that belongs to another format; kIo.
Result<std::optional<std::string>> synthesize(const SynthesizeOptions& options,
                                              const std::function<void(uint64_t, uint64_t)>& on_progress,
                                              const Interrupt& interrupt);

}  // namespace tern::app
