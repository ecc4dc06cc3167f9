#include "settings.h"

#include <ggml.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "library_facts.h"
#include "llama_api.h"

namespace tern::adapter {
namespace {

// Those of llama.cpp's own --cache-type-k.
constexpr std::string_view kCacheTypes[] = {"f16", "f32", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl"};

std::optional<ggml_type> cache_type(const std::string& name) {
  if (std::find(std::begin(kCacheTypes), std::end(kCacheTypes), name) == std::end(kCacheTypes)) return std::nullopt;
  for (int i = 0; i < GGML_TYPE_COUNT; ++i) {
    const char* const known = ggml_type_name(static_cast<ggml_type>(i));
    if (known != nullptr && name == known) return static_cast<ggml_type>(i);
  }
  return std::nullopt;
}

std::vector<std::string> cache_types() {
  std::vector<std::string> names(std::begin(kCacheTypes), std::end(kCacheTypes));
  std::erase_if(names, [](const std::string& name) { return !cache_type(name); });
  return names;
}

bool set_flash_attention(const std::string& value, llama_context_params& params) {
  return api::set_flash_attention(params, value);
}

template <auto Member>
bool set_cache_type(const std::string& value, llama_context_params& params) {
  const auto type = cache_type(value);
  if (type) params.*Member = *type;
  return type.has_value();
}

struct Row {
  const char* key;
  const char* preset;
  std::vector<std::string> (*values)();
  bool (*set)(const std::string& value, llama_context_params& params);  // false: not one of its values
};

constexpr Row kRows[] = {
    {"flash_attention", "off", api::flash_attention_values<>, set_flash_attention},
    {"cache_type_k", "f16", cache_types, set_cache_type<&llama_context_params::type_k>},
    {"cache_type_v", "f16", cache_types, set_cache_type<&llama_context_params::type_v>},
};

constexpr const char* kCpuVariant = "cpu_variant";

const Row* row_of(const std::string& key) {
  const Row* const found =
      std::find_if(std::begin(kRows), std::end(kRows), [&](const Row& row) { return row.key == key; });
  return found == std::end(kRows) ? nullptr : found;
}

}  // namespace

Status apply_settings(const std::map<std::string, std::string>& settings, llama_context_params& params) {
  for (const Row& row : kRows) row.set(row.preset, params);
  for (const auto& [key, value] : settings) {
    if (key == kCpuVariant) continue;
    const Row* const row = row_of(key);
    if (row == nullptr || !row->set(value, params)) {
      return fail(ErrorCode::kUsage, "--setting " + printable(key) + "=" + printable(value),
                  row == nullptr ? "this library has no such setting" : "is none of its values", "see --facts");
    }
  }
  return {};
}

Json known_settings(const std::string& backends) {
  Json known = Json::object();
  for (const Row& row : kRows) known[row.key] = {{"values", row.values()}, {"default", row.preset}};
  known["ubatch"] = {{"from", 1}, {"to", 1 << 20}, {"default", 512}};
  known["threads"] = {{"from", 1}, {"to", 1024}, {"default", nullptr}};
  if (const std::vector<std::string> variants = cpu_variants(backends); !variants.empty()) {
    known[kCpuVariant] = {{"values", variants}, {"default", nullptr}};
  }
  return known;
}

Json all_settings(const std::map<std::string, std::string>& settings) {
  Json all = Json::object();
  for (const Row& row : kRows) {
    const auto set = settings.find(row.key);
    all[row.key] = set == settings.end() ? row.preset : set->second;
  }
  if (const auto set = settings.find(kCpuVariant); set != settings.end()) all[kCpuVariant] = set->second;
  return all;
}

}  // namespace tern::adapter
