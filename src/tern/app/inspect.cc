#include "tern/app/inspect.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "tern/base/json.h"
#include "tern/base/json_format.h"
#include "tern/gguf/view.h"
#include "tern/weight_checks/weight_checks.h"

namespace tern::app {
namespace {

constexpr size_t kElementsShown = 8;  // of a metadata array

struct EncodingTotal {
  uint64_t n_tensors = 0;
  uint64_t n_weights = 0;
  uint64_t n_bytes = 0;
};

std::map<uint32_t, EncodingTotal> totals_by_encoding(const gguf::View& view) {
  std::map<uint32_t, EncodingTotal> totals;
  for (const gguf::Tensor& tensor : view.tensors()) {
    EncodingTotal& total = totals[tensor.type_id];
    total.n_tensors += 1;
    total.n_weights += tensor.n_elements();
    total.n_bytes += tensor.data.size();
  }
  return totals;
}

// The layout of the file's I2_S tensors, empty where it has none.
std::string i2s_layout(const gguf::View& view) {
  const quant::Format* format = view.format_of_type(quant::kI2sBitnetCpp.type_id);
  return format == nullptr ? "" : std::string(format->layout);
}

Json scalar_json(uint64_t value) { return value; }
Json scalar_json(int64_t value) { return value; }
Json scalar_json(double value) { return json_number(value); }
Json scalar_json(bool value) { return value; }
Json scalar_json(std::string_view value) { return std::string(value); }

// Arrays become {"element_type", "count", "first"}.
template <class T>
Json value_json(const gguf::Metadata&, const T& scalar) {
  return scalar_json(scalar);
}
template <class T>
Json value_json(const gguf::Metadata& entry, const std::vector<T>& array) {
  Json first = Json::array();
  for (size_t i = 0; i < std::min(array.size(), kElementsShown); ++i) {
    first.push_back(scalar_json(static_cast<T>(array[i])));
  }
  return {{"element_type", gguf::value_type_name(entry.element_type)}, {"count", array.size()}, {"first", first}};
}

Json metadata_json(const gguf::Metadata& entry) {
  const Json value = std::visit([&entry](const auto& typed) { return value_json(entry, typed); }, entry.value);
  return {{"key", std::string(entry.key)}, {"type", gguf::value_type_name(entry.type)}, {"value", value}};
}

Json report_json(const weight_checks::WeightReport& report, const std::string& gate) {
  Json findings = Json::array();
  for (const weight_checks::WeightFinding& finding : report.findings) {
    Json entry = {{"tensor", finding.tensor}, {"statistic", finding.statistic}, {"value", json_number(finding.value)}};
    if (finding.envelope) {
      entry["min"] = json_number(finding.envelope->low);
      entry["max"] = json_number(finding.envelope->high);
      entry["passed"] = finding.passed;
    }
    findings.push_back(std::move(entry));
  }
  Json json = {{"gate", gate},
               {"rules", report.rules_name},
               {"norms", report.n_norms},
               {"projections", report.n_projections},
               {"failed", report.n_failed}};
  json["passed"] = gate == "none" ? Json(nullptr) : Json(report.n_failed == 0);
  json["findings"] = std::move(findings);
  return json;
}

Json file_json(const gguf::View& view) {
  Json json = {{"file", view.name()},
               {"file_bytes", view.file_size()},
               {"version", view.version()},
               {"alignment", view.alignment()},
               {"data_offset", view.data_offset()},
               {"i2s_layout", i2s_layout(view).empty() ? Json(nullptr) : Json(i2s_layout(view))}};
  json["encodings"] = Json::object();
  for (const auto& [type_id, total] : totals_by_encoding(view)) {
    const bool is_known = (view.format_of_type(type_id) != nullptr);
    json["encodings"][quant::type_name(type_id)] = {{"tensors", total.n_tensors},
                                                    {"weights", total.n_weights},
                                                    {"bytes", is_known ? Json(total.n_bytes) : Json(nullptr)},
                                                    {"supported", is_known}};
  }
  json["metadata"] = Json::array();
  for (const gguf::Metadata& entry : view.metadata()) {
    json["metadata"].push_back(metadata_json(entry));
  }
  json["tensors"] = Json::array();
  for (const gguf::Tensor& tensor : view.tensors()) {
    json["tensors"].push_back({{"name", std::string(tensor.name)},
                               {"dims", tensor.dims},
                               {"encoding", quant::type_name(tensor.type_id)},
                               {"bytes", tensor.format != nullptr ? Json(tensor.data.size()) : Json(nullptr)},
                               {"file_offset", tensor.file_offset}});
  }
  return json;
}

std::string value_text(const gguf::Metadata& entry) {
  if (entry.type == gguf::ValueType::kF32) {
    return fmt::format("{}", static_cast<float>(std::get<double>(entry.value)));  // 1e-05, not 9.999999747e-06
  }
  const Json json = metadata_json(entry)["value"];
  if (entry.type == gguf::ValueType::kArray) {
    std::string text = printable(to_json_line(json["first"]), 400);
    if (json["count"].get<size_t>() > kElementsShown) {
      text.back() = ',';
      text += " ...]";
    }
    return fmt::format("{} {}: {}", json["count"].get<size_t>(), json["element_type"].get<std::string>(), text);
  }
  return printable(to_json_line(json));
}

std::string dims_text(const gguf::Tensor& tensor) { return fmt::format("{}", fmt::join(tensor.dims, " x ")); }

std::string file_text(const gguf::View& view) {
  std::string out =
      fmt::format("{}: GGUF version {}, {} bytes, alignment {}, {} metadata keys, {} tensors\n", printable(view.name()),
                  view.version(), view.file_size(), view.alignment(), view.metadata().size(), view.tensors().size());
  if (const std::string layout = i2s_layout(view); !layout.empty()) {
    out += fmt::format("I2_S layout: {}\n", layout);
  }
  out += "\nMetadata\n";
  for (const gguf::Metadata& entry : view.metadata()) {
    out +=
        fmt::format("  {:<44} {:<7} {}\n", printable(entry.key), gguf::value_type_name(entry.type), value_text(entry));
  }
  out += "\nTensors (columns x rows)\n";
  for (const gguf::Tensor& tensor : view.tensors()) {
    out += fmt::format("  {:<32} {:<9} {:>18} {:>14}  @ {:#x}\n", printable(tensor.name),
                       quant::type_name(tensor.type_id), dims_text(tensor),
                       tensor.format != nullptr ? fmt::format("{} bytes", tensor.data.size()) : "not supported",
                       tensor.file_offset);
  }
  out += "\nBy encoding\n";
  for (const auto& [type_id, total] : totals_by_encoding(view)) {
    out += fmt::format("  {:<9} {:>5} tensors {:>14} weights {:>14} bytes{}\n", quant::type_name(type_id),
                       total.n_tensors, total.n_weights, total.n_bytes,
                       view.format_of_type(type_id) != nullptr ? "" : "  (not supported: size unknown)");
  }
  return out;
}

std::string report_text(const weight_checks::WeightReport& report, const std::string& gate) {
  std::string out = "\nNorm and projection weights\n";
  for (const weight_checks::WeightFinding& finding : report.findings) {
    const std::string tensor = finding.tensor.empty() ? "(file)" : printable(finding.tensor);
    out += fmt::format("  {:<32} {:<15} {:>12.6g}", tensor, finding.statistic, finding.value);
    if (finding.envelope) {
      out += fmt::format("  {} [{:g}, {:g}]", finding.passed ? "ok  " : "FAIL", finding.envelope->low,
                         finding.envelope->high);
    }
    out += '\n';
  }
  out += fmt::format("{} norms, {} projections", report.n_norms, report.n_projections);
  if (gate == "none") {
    return out + "; no gate\n";
  }
  return out + fmt::format("; gate {} (rules {}): {}\n", gate, printable(report.rules_name),
                           report.n_failed == 0 ? "passed" : fmt::format("FAILED, {} findings", report.n_failed));
}

Result<weight_checks::WeightReport> weight_report(const gguf::View& view, const InspectOptions& options) {
  if (options.gate == "none") {
    return weight_checks::check_weights(view, nullptr);
  }
  TERN_ASSIGN_OR_RETURN(weight_checks::WeightRules rules, weight_checks::rules_for(view));
  if (options.gate == "policy") {
    TERN_ASSIGN_OR_RETURN(rules, weight_checks::read_policy(options.policy, rules));
  }
  return weight_checks::check_weights(view, &rules);
}

}  // namespace

Result<Inspection> inspect(const InspectOptions& options) {
  if ((options.gate == "policy") != !options.policy.empty()) {
    return fail(ErrorCode::kUsage, "tern inspect", "--gate policy and --policy FILE belong together",
                "example: tern inspect model.gguf --ln-stats --gate policy --policy my-model.toml");
  }
  TERN_ASSIGN_OR_RETURN(const gguf::View view, gguf::View::open(options.model));
  Json json = options.json ? file_json(view) : Json();
  Inspection inspection{.text = options.json ? "" : file_text(view)};
  if (options.ln_stats) {
    TERN_ASSIGN_OR_RETURN(const weight_checks::WeightReport report, weight_report(view, options));
    if (options.json) {
      json["weight_checks"] = report_json(report, options.gate);
    } else {
      inspection.text += report_text(report, options.gate);
    }
    inspection.passed = report.n_failed == 0;
  }
  if (options.json) {
    inspection.text = to_json_text(with_format(Document::kCommand, json));
  }
  return inspection;
}

}  // namespace tern::app
