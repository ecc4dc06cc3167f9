// Seeded random ternary models of a given shape, to test and time without a download.
//
// Weights are random, embeddings approximately normal, norms near 1 and scales such that every stage keeps about the
// magnitude of its input: every correct engine computes the same well-conditioned network. All values come from
// splitmix64 in counter mode, keyed by seed, tensor name and row, and from integer sums (no libm), so a seed gives the
// same bytes on every machine and for any number of threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/quant/format.h"
#include "tern/synth/synthetic_vocabulary.h"

namespace tern::synth {

struct SyntheticShape {
  std::string name;  // of the preset
  uint32_t n_layers = 0;
  uint32_t n_embd = 0;
  uint32_t n_ff = 0;
  uint32_t n_heads = 0;
  uint32_t n_kv_heads = 0;
  uint32_t n_vocab = 0;  // 0: the synthetic vocabulary's own size
  uint32_t n_context = 0;
  float rope_base = 0;
  float norm_epsilon = 0;
};

// tiny small odd wide large 2b4t; "odd" has a KV group of 2 and rows that are no multiple of 256, "wide" long rows.
std::vector<std::string> synthetic_presets();
std::optional<SyntheticShape> synthetic_shape(std::string_view preset);

struct SyntheticOptions {
  SyntheticShape shape;
  std::string architecture = "bitnet-b1.58";  // a name of arch::families(); llama has an output matrix of its own
  uint64_t seed = 1;
  const quant::Format* embeddings = &quant::kF16;  // one that holds any value
  // Of the projections. In a format that holds any value, BitNet architectures keep the ternary values that
  // kI2sBitnetCpp gets, times their scale; llama has approximately normal ones.
  const quant::Format* weights = &quant::kI2sBitnetCpp;
};

// Called now and then with bytes written and to be written; writing stops with an error when it returns false.
using SyntheticProgress = std::function<bool(uint64_t bytes_done, uint64_t bytes_total)>;

// Errors: kIo; kUsage when `progress` stopped it, and for rows that the format of the weights cannot hold. Nothing is
// left under `path` unless it succeeds.
Status write_synthetic_model(const std::filesystem::path& path, const SyntheticOptions& options,
                             const SyntheticProgress& progress = nullptr);

// The vocabulary that the model written with these options carries.
SyntheticVocabulary vocabulary_of(const SyntheticOptions& options);

}  // namespace tern::synth
