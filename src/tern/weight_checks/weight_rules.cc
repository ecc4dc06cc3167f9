// The envelopes of weight_checks.h.
//
// Norms of the BitNet architectures and the RMS of their float projections: the bounds that BitNet-rs found on
// published files (EffortlessMetrics/BitNet-rs, crates/bitnet-validation/src/rules.rs at 10aa2de; its rules for
// `bitnet` with file type F16 and I2_S; it does not judge I2_S projections). TQ2_0 holds the same ternary weights as
// I2_S, with their scale in every block, so it gets the bounds of I2_S. Bounds marked "Ours" are tern's own.
#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>

#include "tern/arch/family.h"
#include "tern/base/file.h"
#include "tern/quant/format.h"
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

// Of matrices whose weights are a few levels.
WeightRules levels_rules(const quant::Format& format) {
  WeightRules rules;
  rules.norms = {{".attn_norm.weight", {0.01, 2.0}},  // 0.01 to 0.02 is normal where the weights are levels
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

WeightRules float_rules() {
  WeightRules rules;
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

// Ours. Blocks that are rounded from any value keep what the file that they were made from had: levels times a scale or
// plain floats. So they may have whatever either of these may have.
WeightRules rounded_rules() {
  const auto either = [](const Envelope& a, const Envelope& b) {
    return Envelope{std::min(a.low, b.low), std::max(a.high, b.high)};
  };
  WeightRules rules = levels_rules(quant::kTq2_0);
  const WeightRules of_floats = float_rules();
  rules.norms = {{".ffn_sub_norm.weight", {0.05, 2.0}},
                 {".ffn_norm.weight", {0.25, 2.0}},
                 {".attn_norm.weight", {0.01, 2.0}},
                 {"output_norm.weight", {0.5, 2.0}}};
  rules.other_norms = either(rules.other_norms, of_floats.other_norms);
  rules.projection_rms = either(rules.projection_rms, of_floats.projection_rms);
  return rules;
}

// Of models that are trained with ternary weights.
WeightRules ternary_family_rules(const quant::Format& format) {
  return format.is_float() ? float_rules() : format.levels.empty() ? rounded_rules() : levels_rules(format);
}

WeightRules other_family_rules(const quant::Format& format) {
  WeightRules rules = levels_rules(format);
  // Ours: BitNet-rs demands 0.8 to 1.2 of every other architecture, which trained llama models do not keep.
  if (!format.is_unscaled) {
    rules.norms = {};
    rules.other_norms = {0.02, 20.0};
  }
  if (format.levels.empty()) {
    rules.projection_rms = {0.001, 4.0};
  }
  return rules;
}

// "float", "i2_s/qk256", "tq2_0".
std::string rules_name_of(const quant::Format& format) {
  std::string name = format.is_float() ? "float" : std::string(format.name);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return format.layout.empty() ? name : fmt::format("{}/{}", name, format.layout);
}

// What most weights of the projections are stored in. Errors: where that is nothing that tern can read.
Result<const quant::Format*> format_of_projections(const gguf::View& view) {
  std::map<uint32_t, uint64_t> n_weights;  // by type id
  std::map<uint32_t, const quant::Format*> formats;
  for (const gguf::Tensor& tensor : view.tensors()) {
    if (is_projection(tensor.name)) {
      n_weights[tensor.type_id] += tensor.n_elements();
      formats[tensor.type_id] = tensor.format;
    }
  }
  const auto most = std::max_element(n_weights.begin(), n_weights.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most == n_weights.end()) {
    return &quant::kF32;  // only norms to judge, and a finding says that projections are missing
  }
  const quant::Format* format = formats[most->first];
  return format != nullptr ? Result<const quant::Format*>(format)
                           : invalid_input(view.name(), "no rules for " + quant::type_name_and_id(most->first));
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
  TERN_ASSIGN_OR_RETURN(const quant::Format* format, format_of_projections(view));
  const arch::Family* family = arch::find_family(architecture);
  const bool is_ternary = family != nullptr && family->is_ternary;
  WeightRules rules = is_ternary ? ternary_family_rules(*format) : other_family_rules(*format);
  rules.name = fmt::format("{}:{}", is_ternary ? "bitnet" : "llama", rules_name_of(*format));
  return rules;
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
