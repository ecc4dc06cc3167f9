#include "tern/sweep/tolerances.h"

#include <cmath>

#include "tern/base/file.h"
#include "tern/sweep/toml_parts.h"

namespace tern::sweep {
namespace {

constexpr const char* kKind = "tolerance file";

// Absent where the key is. Errors: no number from `low` to `high`.
Result<std::optional<double>> number_at(const toml::table& table, const char* key, double low, double high,
                                        const std::string& file_name) {
  const toml::node* node = table.get(key);
  if (node == nullptr) {
    return std::optional<double>();
  }
  const auto value = node->value<double>();
  if (!value || !node->is_number() || !std::isfinite(*value) || *value < low || *value > high) {
    return invalid_input(place(file_name, *node, key), fmt::format("is no number from {} to {}", low, high));
  }
  return value;
}

Result<compare::StageTolerance> tolerance_from(const toml::table& table, const std::string& file_name) {
  constexpr double kMost = 1e6;
  TERN_RETURN_IF_ERROR(check_keys(table, {"stage", "max_relative_error", "max_rms_ratio_deviation"}, file_name, kKind));
  compare::StageTolerance tolerance;
  const toml::node* stage = table.get("stage");
  const auto pattern = stage != nullptr ? stage->value_exact<std::string>() : std::nullopt;
  if (!pattern || pattern->empty()) {
    return invalid_input(place(file_name, stage != nullptr ? *stage : table, "stage"),
                         "must be the pattern of a stage's or a tensor's name", "like attn_* or blk0/*");
  }
  tolerance.pattern = *pattern;
  tolerance.where = place(file_name, *stage, "stage");
  TERN_ASSIGN_OR_RETURN(tolerance.max_relative_error, number_at(table, "max_relative_error", 0, kMost, file_name));
  TERN_ASSIGN_OR_RETURN(tolerance.max_rms_ratio_deviation,
                        number_at(table, "max_rms_ratio_deviation", 0, kMost, file_name));
  if (!tolerance.max_relative_error && !tolerance.max_rms_ratio_deviation) {
    return invalid_input(place(file_name, table, "tolerance"), "has no bound",
                         "max_relative_error, max_rms_ratio_deviation, or both");
  }
  return tolerance;
}

}  // namespace

Result<compare::Tolerances> read_tolerances(const std::filesystem::path& path) {
  constexpr uint64_t kMaxBytes = uint64_t{1} << 20;
  TERN_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxBytes));
  return parse_tolerances(text, path.string());
}

Result<compare::Tolerances> parse_tolerances(std::string_view text, const std::string& file_name) {
  TERN_ASSIGN_OR_RETURN(const toml::table root, parse_toml(text, file_name));
  TERN_RETURN_IF_ERROR(
      check_keys(root, {"min_logits_cosine", "max_log_sum_exp_difference", "tolerance"}, file_name, kKind));
  constexpr double kMostNats = 1e6;
  compare::Tolerances tolerances;
  TERN_ASSIGN_OR_RETURN(const auto cosine, number_at(root, "min_logits_cosine", -1, 1, file_name));
  TERN_ASSIGN_OR_RETURN(const auto nats, number_at(root, "max_log_sum_exp_difference", 0, kMostNats, file_name));
  tolerances.logits_cosine.green = cosine.value_or(tolerances.logits_cosine.green);
  tolerances.max_log_sum_exp_difference = nats.value_or(tolerances.max_log_sum_exp_difference);
  const toml::node* entries = root.get("tolerance");
  if (entries != nullptr && !entries->is_array_of_tables()) {
    return invalid_input(place(file_name, *entries, "tolerance"), "is no [[tolerance]] table");
  }
  if (entries != nullptr) {
    for (const toml::node& entry : *entries->as_array()) {
      TERN_ASSIGN_OR_RETURN(compare::StageTolerance tolerance, tolerance_from(*entry.as_table(), file_name));
      tolerances.by_stage.push_back(std::move(tolerance));
    }
  }
  return tolerances;
}

}  // namespace tern::sweep
