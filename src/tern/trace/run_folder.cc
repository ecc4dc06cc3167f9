#include "tern/trace/run_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "tern/base/file.h"
#include "tern/base/json_format.h"

namespace tern::trace {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMaxResultBytes = uint64_t{64} << 20;
constexpr uint64_t kMaxTraceBytes = uint64_t{1} << 20;      // one record
constexpr uint64_t kMaxTraceListBytes = uint64_t{1} << 30;  // trace.jsonl

void add_seconds(Json& timing, const char* key, const std::optional<double>& seconds) {
  if (seconds) {
    timing[key] = json_number(*seconds);
  }
}

std::optional<double> seconds_from(const Json& timing, const char* key) {
  const auto it = timing.find(key);
  return it != timing.end() && it->is_number() ? std::optional(it->get<double>()) : std::nullopt;
}

std::string string_or_empty(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
}

Result<std::vector<TraceRecord>> read_trace_list(const fs::path& path) {
  std::vector<TraceRecord> records;
  TERN_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxTraceListBytes));
  size_t line_number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    ++line_number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) {
      continue;
    }
    const std::string where = fmt::format("{} line {}", path.string(), line_number);
    TERN_ASSIGN_OR_RETURN(const Json json, parse_json(line, where));
    TERN_ASSIGN_OR_RETURN(TraceRecord record, record_from_json(json, where));
    records.push_back(std::move(record));
  }
  return records;
}

// How many rows there must be follows from the tokens.
Status check_row_count(const EngineRun& run, size_t n_rows, const std::string& where) {
  const size_t n_steps = run.result.generated_tokens.empty() ? 0 : run.result.generated_tokens.size() - 1;
  const size_t n_expected = run.result.prompt_tokens.size() + n_steps;
  if (n_rows != n_expected) {
    return invalid_input(where, fmt::format("has {} rows, but {} prompt tokens and {} decode steps demand {}", n_rows,
                                            run.result.prompt_tokens.size(), n_steps, n_expected));
  }
  return {};
}

Status read_logits(const fs::path& folder, EngineRun& run) {
  const fs::path full = folder / "logits.safetensors";
  const fs::path top = folder / TopLogits::kFileName;
  std::error_code error;
  const bool has_full = fs::exists(full, error);
  if (fs::exists(top, error)) {
    if (has_full) {
      return invalid_input(folder.string(), fmt::format("holds both logits.safetensors and {}", TopLogits::kFileName),
                           "keep one of them");
    }
    TERN_ASSIGN_OR_RETURN(run.top_logits, TopLogits::open(top));
    return check_row_count(run, run.top_logits->n_rows(), top.string());
  }
  if (!has_full) {
    return {};
  }
  TERN_ASSIGN_OR_RETURN(run.logits_file, Safetensors::open(full));
  const auto* logits = run.logits();
  if (logits == nullptr) {
    return {};
  }
  const std::string where = full.string() + ": tensor logits";
  if (logits->shape.size() != 2 || logits->shape[1] < 1) {
    return invalid_input(where, "does not have the shape [positions, vocab]");
  }
  return check_row_count(run, static_cast<size_t>(logits->shape[0]), where);
}

}  // namespace

Json to_json(const RunResult& result) {
  Json json = {
      {"engine", result.engine},
      {"prompt", result.prompt},
      {"max_tokens", result.max_tokens},
      {"prompt_tokens", result.prompt_tokens},
      {"generated_tokens", result.generated_tokens},
      {"text", result.text},
  };
  if (!result.teacher_tokens.empty()) {
    json["teacher_tokens"] = result.teacher_tokens;
  }
  if (!result.arithmetic.empty()) {
    json["arithmetic"] = result.arithmetic;
  }
  if (!result.model_sha256.empty()) {
    json["model_sha256"] = result.model_sha256;
  }
  if (!result.settings.is_null()) {
    json["settings"] = result.settings;
  }
  Json timing = Json::object();
  add_seconds(timing, "load_s", result.load_s);
  add_seconds(timing, "prefill_s", result.prefill_s);
  add_seconds(timing, "decode_s", result.decode_s);
  json["timing"] = std::move(timing);
  return with_format(Document::kRunResult, std::move(json));
}

Result<RunResult> run_result_from_json(const Json& json, const std::string& where) {
  TERN_RETURN_IF_ERROR(read_format(Document::kRunResult, json, where));
  RunResult result;
  TERN_ASSIGN_OR_RETURN(result.engine, json_string(json, "engine", where));
  TERN_ASSIGN_OR_RETURN(result.prompt, json_string(json, "prompt", where));
  TERN_ASSIGN_OR_RETURN(const int64_t max_tokens, json_integer(json, "max_tokens", where, 0, INT32_MAX));
  result.max_tokens = static_cast<int>(max_tokens);
  TERN_ASSIGN_OR_RETURN(result.prompt_tokens, json_token_ids(json, "prompt_tokens", where));
  TERN_ASSIGN_OR_RETURN(result.generated_tokens, json_token_ids(json, "generated_tokens", where));
  if (result.generated_tokens.size() > static_cast<size_t>(result.max_tokens)) {
    return invalid_input(where, fmt::format("holds {} generated tokens, but max_tokens is {}",
                                            result.generated_tokens.size(), result.max_tokens));
  }
  if (json.contains("teacher_tokens")) {
    TERN_ASSIGN_OR_RETURN(result.teacher_tokens, json_token_ids(json, "teacher_tokens", where));
    if (result.teacher_tokens.size() > static_cast<size_t>(result.max_tokens)) {
      return invalid_input(where, fmt::format("holds {} teacher tokens, but max_tokens is {}",
                                              result.teacher_tokens.size(), result.max_tokens));
    }
  }
  result.text = string_or_empty(json, "text");
  result.arithmetic = string_or_empty(json, "arithmetic");
  result.model_sha256 = string_or_empty(json, "model_sha256");
  if (const auto settings = json.find("settings"); settings != json.end() && settings->is_object()) {
    result.settings = *settings;
  }
  if (const auto timing = json.find("timing"); timing != json.end() && timing->is_object()) {
    result.load_s = seconds_from(*timing, "load_s");
    result.prefill_s = seconds_from(*timing, "prefill_s");
    result.decode_s = seconds_from(*timing, "decode_s");
  }
  return result;
}

const Safetensors::Entry* EngineRun::logits() const { return logits_file ? logits_file->find("logits") : nullptr; }

std::optional<float> EngineRun::logit(size_t row, int32_t id) const {
  if (const auto* full = logits(); full != nullptr && full->shape.size() == 2) {
    const auto vocab = static_cast<size_t>(full->shape[1]);
    const bool inside = id >= 0 && static_cast<size_t>(id) < vocab && row < static_cast<size_t>(full->shape[0]);
    return inside ? std::optional(full->values[row * vocab + static_cast<size_t>(id)]) : std::nullopt;
  }
  if (top_logits && row < top_logits->n_rows()) {
    const TopLogitsRow top = top_logits->row(row);
    const auto at = std::find(top.ids.begin(), top.ids.end(), id);
    if (at != top.ids.end()) {
      return top.logits[static_cast<size_t>(at - top.ids.begin())];
    }
  }
  return std::nullopt;
}

Result<TraceRecord> read_trace_file(const fs::path& path) {
  TERN_ASSIGN_OR_RETURN(const Json json, read_json_file(path, kMaxTraceBytes));
  return record_from_json(json, path.string());
}

Result<Records> read_trace_folder(const fs::path& folder) {
  std::vector<TraceRecord> records;
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error) {
    return fail(ErrorCode::kIo, folder.string(), "cannot be listed: " + error.message());
  }
  for (const auto& entry : entries) {
    if (entry.path().extension() == ".trace") {
      TERN_ASSIGN_OR_RETURN(TraceRecord record, read_trace_file(entry.path()));
      records.push_back(std::move(record));
    }
  }
  const fs::path list = folder / "trace.jsonl";
  if (!fs::exists(list, error)) {
    return Records::create(std::move(records), Records::Given::kAnyOrder, folder.string());
  }
  if (!records.empty()) {
    return invalid_input(folder.string(), "holds both *.trace files and a trace.jsonl", "keep one of them");
  }
  TERN_ASSIGN_OR_RETURN(records, read_trace_list(list));
  return Records::create(std::move(records), Records::Given::kInOrder, folder.string());
}

Result<EngineRun> read_run_folder(const fs::path& folder, const std::optional<fs::path>& trace_folder) {
  EngineRun run;
  run.folder = folder;
  const fs::path result_path = folder / "result.json";
  TERN_ASSIGN_OR_RETURN(const Json result, read_json_file(result_path, kMaxResultBytes));
  TERN_ASSIGN_OR_RETURN(run.result, run_result_from_json(result, result_path.string()));
  TERN_ASSIGN_OR_RETURN(run.trace, read_trace_folder(trace_folder.value_or(folder)));
  TERN_RETURN_IF_ERROR(read_logits(folder, run));
  std::error_code error;
  if (const fs::path path = folder / "tensors.safetensors"; fs::exists(path, error)) {
    TERN_ASSIGN_OR_RETURN(run.values, Safetensors::open(path));
  }
  return run;
}

}  // namespace tern::trace
