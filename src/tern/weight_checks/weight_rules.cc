// The envelopes of weight_checks.h.
//
// Norms of the BitNet architectures and the RMS of their float projections: the bounds that BitNet-rs found on
// published files (EffortlessMetrics/BitNet-rs, crates/bitnet-validation/src/rules.rs at 10aa2de; its rules for
// `bitnet` with file type F16 and I2_S; it does not judge I2_S projections). Bounds marked
// "Ours" are tern's own.
#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "tern/base/file.h"
#include "tern/weight_checks/weight_checks.h"

namespace tern::weight_checks {
namespace {

// Ours. A trained ternary matrix is scaled so that its output keeps about the size of its input, rms ~ 1/sqrt(columns),
// unless the norm in front of it is small and the scale makes up for it: published files have norms of 0.02 with scales
// near 1. A scale outside these bounds is lost, not small.
constexpr Envelope kTernaryRms = {0.002, 4.0};
constexpr Envelope kTernaryScale = {0.002, 8.0};
// Ours. Rounding by the mean magnitude makes 31 % of normally distributed weights zero, 39 % of
// Laplace-distributed ones.
constexpr Envelope kZeroFraction = {0.05, 0.9};

WeightRules bitnet_i2s_rules(const quant::Format& format) {
  WeightRules rules;
  rules.name = fmt::format("bitnet:i2_s/{}", format.layout);
  rules.norms = {{".attn_norm.weight", {0.01, 2.0}},  // 0.01 to 0.02 is normal in I2_S files
                 {".ffn_norm.weight", {0.5, 2.0}},
                 {"output_norm.weight", {0.5, 2.0}}};
  rules.other_norms = {0.25, 2.0};
  rules.projection_rms = kTernaryRms;
  rules.projection_scale = kTernaryScale;
  rules.zero_fraction = kZeroFraction;
  if (format.is_unscaled) {
    // Ours: such a layout has no scale, so the norm in front of a matrix carries 1/sqrt(2.5 columns); and the weights
    // are -2, -1, 1 and 2, whatever they mean.
    rules.norms = {{"output_norm.weight", {0.5, 2.0}}};
    rules.other_norms = {0.002, 2.0};
    rules.projection_rms = {1.0, 2.0};
  }
  return rules;
}

WeightRules bitnet_float_rules() {
  WeightRules rules;
  rules.name = "bitnet:float";
  rules.other_norms = {0.5, 2.0};
  // BitNet-rs allows the norm inside the feed-forward block (its "ffn_layernorm") 0.05; GGUF calls it ffn_sub_norm.
  rules.norms = {{".ffn_sub_norm.weight", {0.05, 2.0}},
                 {".ffn_norm.weight", {0.25, 2.0}},    // post_attention_layernorm
                 {".attn_norm.weight", {0.35, 2.0}}};  // input_layernorm
  rules.projection_rms = {0.01, 0.4};
  rules.projection_scale = kTernaryScale;
  rules.zero_fraction = {0.0, 1.0};
  return rules;
}

// `i2s`: the layout of I2_S that the file has; null: none.
WeightRules llama_rules(const quant::Format* i2s) {
  WeightRules rules = bitnet_i2s_rules(i2s == nullptr ? quant::kI2sBitnetCpp : *i2s);
  rules.name = i2s == nullptr ? "llama:float" : fmt::format("llama:i2_s/{}", i2s->layout);
  // Ours: BitNet-rs demands 0.8 to 1.2 of every other architecture, which trained llama models do not keep.
  if (i2s == nullptr || !i2s->is_unscaled) {
    rules.norms = {};
    rules.other_norms = {0.02, 20.0};
  }
  if (i2s == nullptr) {
    rules.projection_rms = {0.001, 4.0};
  }
  return rules;
}

// Reads the optional [table] min, max into `envelope`.
Status read_envelope(const toml::table& policy, const char* key, const std::string& where, Envelope* envelope) {
  const toml::node* node = policy.get(key);
  if (node == nullptr) {
    return {};
  }
  const toml::table* table = node->as_table();
  const auto low = table == nullptr ? std::nullopt : (*table)["min"].value<double>();
  const auto high = table == nullptr ? std::nullopt : (*table)["max"].value<double>();
  if (!low || !high || !(*low <= *high)) {
    return invalid_input(where + ": " + key, "must be a table with numbers min and max, min <= max");
  }
  *envelope = {*low, *high};
  return {};
}

Status read_norm_rules(const toml::table& policy, const std::string& where, WeightRules* rules) {
  const toml::node* node = policy.get("norm");
  if (node == nullptr) {
    return {};
  }
  const toml::array* array = node->as_array();
  if (array == nullptr) {
    return invalid_input(where + ": norm", "must be an array of tables: [[norm]]");
  }
  rules->norms.clear();
  for (const toml::node& element : *array) {
    const toml::table* table = element.as_table();
    NormRule rule;
    const auto ending = table == nullptr ? std::nullopt : (*table)["ends_with"].value<std::string>();
    const auto low = table == nullptr ? std::nullopt : (*table)["min"].value<double>();
    const auto high = table == nullptr ? std::nullopt : (*table)["max"].value<double>();
    if (!ending || !low || !high || !(*low <= *high)) {
      return invalid_input(fmt::format("{}: norm entry {}", where, rules->norms.size()),
                           "needs a string ends_with and numbers min and max, min <= max");
    }
    rules->norms.push_back({*ending, {*low, *high}});
  }
  return {};
}

}  // namespace

Result<WeightRules> rules_for(const gguf::View& view) {
  TERN_ASSIGN_OR_RETURN(const std::string_view architecture, view.get_string("general.architecture"));
  const quant::Format* i2s = view.format_of_type(quant::kI2sBitnetCpp.type_id);
  if (!architecture.starts_with("bitnet")) {
    return llama_rules(i2s);
  }
  return i2s == nullptr ? bitnet_float_rules() : bitnet_i2s_rules(*i2s);
}

Result<WeightRules> read_policy(const std::filesystem::path& path, const WeightRules& defaults) {
  constexpr uint64_t kMaxPolicyBytes = uint64_t{1} << 20;
  TERN_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxPolicyBytes));
  const std::string where = path.string();
  toml::table policy;
  try {
    policy = toml::parse(text);
  } catch (const toml::parse_error& error) {
    return invalid_input(fmt::format("{} line {}", where, error.source().begin.line),
                         fmt::format("is not TOML: {}", error.description()));
  }
  constexpr std::string_view kKnownKeys[] = {
      "name", "norm", "other_norms", "projection_rms", "projection_scale", "zero_fraction"};
  for (const auto& [key, node] : policy) {
    if (std::find(std::begin(kKnownKeys), std::end(kKnownKeys), key.str()) == std::end(kKnownKeys)) {
      return invalid_input(fmt::format("{}: {}", where, key.str()), "is not a key of a policy",
                           "known: name, norm, other_norms, projection_rms, projection_scale, zero_fraction");
    }
  }
  WeightRules rules = defaults;
  rules.name = policy["name"].value_or(std::string("policy ") + where);
  TERN_RETURN_IF_ERROR(read_norm_rules(policy, where, &rules));
  TERN_RETURN_IF_ERROR(read_envelope(policy, "other_norms", where, &rules.other_norms));
  TERN_RETURN_IF_ERROR(read_envelope(policy, "projection_rms", where, &rules.projection_rms));
  TERN_RETURN_IF_ERROR(read_envelope(policy, "projection_scale", where, &rules.projection_scale));
  TERN_RETURN_IF_ERROR(read_envelope(policy, "zero_fraction", where, &rules.zero_fraction));
  return rules;
}

}  // namespace tern::weight_checks
