// Are a model's weights plausible? Statistics of every norm and projection, held against envelopes that depend on the
// architecture and the encoding. It finds what runs but prints gibberish: norms that were quantized or rescaled, scales
// that are lost, zero or not finite, codes that mean nothing. For `tern inspect --ln-stats` and `tern validate`.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/gguf/view.h"

namespace tern::weight_checks {

struct Envelope {
  double low = 0;
  double high = 0;
  bool contains(double value) const { return value >= low && value <= high; }  // false for NaN
};

struct NormRule {
  std::string name_ends_with;
  Envelope rms;
};

struct WeightRules {
  std::string name;             // "bitnet:i2_s/bitnet.cpp", "llama:float", or the policy's
  std::vector<NormRule> norms;  // the first that matches a tensor's name counts
  Envelope other_norms;         // RMS of norms that match none
  Envelope projection_rms;      // of the weights with their scales
  Envelope projection_scale;    // I2_S with scales
  Envelope zero_fraction;       // share of zero weights; ternary formats only
};

struct WeightFinding {
  std::string tensor;     // empty for findings about the whole file
  std::string statistic;  // rms, scale, scale_min, scale_max, zero_fraction, invalid_codes, not_finite, is_float, ...
  double value = 0;
  std::optional<Envelope> envelope;  // absent where no rules were given
  bool passed = true;
};

struct WeightReport {
  std::string rules_name;  // empty without rules
  std::vector<WeightFinding> findings;
  size_t n_norms = 0;
  size_t n_projections = 0;
  size_t n_failed = 0;  // findings
};

// A layer's matrix in any of the families.
bool is_projection(std::string_view tensor);

// The rules for the file's general.architecture, and for what most weights of its projections are stored in. Errors:
// kInvalidInput when that key is missing, or where tern cannot read what they are stored in.
Result<WeightRules> rules_for(const gguf::View& view);

// A policy file of the user's, TOML:
//   name = "my-model"
//   [[norm]]  ends_with = "attn_norm.weight"  min = 0.01  max = 2.0
//   [other_norms] min, max   [projection_rms] min, max   [projection_scale] min, max   [zero_fraction] min, max
// Tables left out take `defaults`. Errors: kInvalidInput with line or key; kIo.
Result<WeightRules> read_policy(const std::filesystem::path& path, const WeightRules& defaults);

// All statistics, in the file's order; every float of a norm and every code of a projection is read. With `rules` null
// nothing is judged.
WeightReport check_weights(const gguf::View& view, const WeightRules* rules);

}  // namespace tern::weight_checks
