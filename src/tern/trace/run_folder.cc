#include "tern/trace/run_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
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
    TERN_ASSIGN_OR_RETURN(const Json json, parse_json_with_nan(line, where));
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
    return invalid_input(full.string(), "holds no tensor \"logits\" of floats");
  }
  const std::string where = full.string() + ": tensor logits";
  if (logits->shape.size() != 2 || logits->shape[1] < 1) {
    return invalid_input(where, "does not have the shape [positions, vocab]");
  }
  return check_row_count(run, static_cast<size_t>(logits->shape[0]), where);
}

Result<std::optional<Safetensors>> open_values(const fs::path& folder) {
  const fs::path path = folder / "tensors.safetensors";
  std::error_code error;
  if (!fs::exists(path, error)) {
    return std::optional<Safetensors>();
  }
  TERN_ASSIGN_OR_RETURN(Safetensors values, Safetensors::open(path));
  return std::optional(std::move(values));
}

// Fills in what a record leaves out.
Status complete(TraceRecord& record, const Safetensors* values, const std::string& where) {
  const auto* const entry = values != nullptr ? values->find(record.id.name()) : nullptr;
  if (entry == nullptr) {
    return record.blake3.empty() ? invalid_input(where, fmt::format("the record of {} has no key \"blake3\", and there "
                                                                    "are no values of it",
                                                                    record.id.name()))
                                 : Status();
  }
  if (!record.blake3.empty() && record.rms) {
    return {};
  }
  if (entry->values.size() != record.num_elements) {
    return invalid_input(where, fmt::format("the record of {} has {} elements, its values {}", record.id.name(),
                                            record.num_elements, entry->values.size()));
  }
  const TraceRecord derived = make_record(record.id, record.shape, entry->values);
  record.blake3 = record.blake3.empty() ? derived.blake3 : record.blake3;
  record.rms = record.rms ? record.rms : derived.rms;
  record.non_finite = std::max(record.non_finite, derived.non_finite);
  return {};
}

// Puts `derived`, records of tensors that have values alone, among `written`, which are in execution order: each before
// the first that its pass or a later one has behind it by TensorId.
std::vector<TraceRecord> merged(std::vector<TraceRecord> written, std::vector<TraceRecord> derived) {
  const auto is_before = [](const TraceRecord& a, const TraceRecord& b) { return a.id < b.id; };
  std::sort(derived.begin(), derived.end(), is_before);
  std::vector<TraceRecord> all;
  all.reserve(written.size() + derived.size());
  auto next = std::make_move_iterator(derived.begin());
  const auto end = std::make_move_iterator(derived.end());
  for (TraceRecord& record : written) {
    while (next != end && is_before(*next.base(), record)) {
      all.push_back(*next++);
    }
    all.push_back(std::move(record));
  }
  all.insert(all.end(), next, end);
  return all;
}

Result<Records> whole_records(Records written, const Safetensors* values, const std::string& where) {
  const bool has_all = std::all_of(written.begin(), written.end(),
                                   [](const auto& record) { return !record.blake3.empty() && record.rms; });
  const auto has_record = [&](const std::string& name) {
    const auto id = TensorId::parse(name);
    return id && written.find(*id) != nullptr;
  };
  std::vector<std::string> without_record;
  if (values != nullptr) {
    for (const auto& [name, entry] : values->entries()) {
      if (!has_record(name)) {
        without_record.push_back(name);
      }
    }
  }
  if (has_all && without_record.empty()) {
    return written;
  }
  std::vector<TraceRecord> records(written.begin(), written.end());
  for (TraceRecord& record : records) {
    TERN_RETURN_IF_ERROR(complete(record, values, where));
  }
  std::vector<TraceRecord> derived;
  for (const std::string& name : without_record) {
    const auto id = TensorId::parse(name);
    const auto& entry = *values->find(name);
    if (!id || entry.shape.empty()) {
      return invalid_input(where, fmt::format("tensors.safetensors: '{}' {}", printable(name, TensorId::kMaxName),
                                              id ? "has no dimension" : "cannot be a tensor's name"));
    }
    derived.push_back(make_record(*id, entry.shape, entry.values));
    derived.back().dtype = entry.dtype;
  }
  records = merged(std::move(records), std::move(derived));
  for (size_t i = 0; i < records.size(); ++i) {
    records[i].index = i;
  }
  return Records::create(std::move(records), Records::Given::kInOrder, where);
}

constexpr double kRmsSlack = 1e-4;  // of an RMS that was summed in float32

// "3 records state ...: blk0/q_proj (...), ..."
class Finding {
 public:
  explicit Finding(std::string what) : what_(std::move(what)) {}
  void add(const TraceRecord& record, const std::string& details) {
    constexpr size_t kShown = 3;
    if (n_++ < kShown) {
      shown_ += fmt::format("{}{}{}", shown_.empty() ? "" : ", ", record.id.name(),
                            details.empty() ? "" : " (" + details + ")");
    }
    if (n_ == kShown + 1) {
      shown_ += ", ...";
    }
  }
  void append_to(std::vector<std::string>& notes) const {
    if (n_ > 0) {
      notes.push_back(fmt::format("{} of its trace records {}: {}", n_, what_, shown_));
    }
  }

 private:
  std::string what_, shown_;
  size_t n_ = 0;
};

std::vector<std::string> notes_on(const EngineRun& run) {
  Finding not_finite("state an RMS that is NaN or infinite"), contradicting("contradict themselves"),
      other_rms("state an RMS that is not that of the recorded values");
  for (const TraceRecord& record : run.trace) {
    if (record.is_not_finite()) {
      not_finite.add(record, "");
    }
    if (!record.note.empty()) {
      contradicting.add(record, record.note);
    }
    const auto* const entry = run.values ? run.values->find(record.id.name()) : nullptr;
    if (entry == nullptr || !record.rms) {
      continue;
    }
    const auto stated = record.finite_rms();
    const auto of_values = rms_of(entry->values);
    if (stated.has_value() != of_values.has_value() ||
        (stated && std::fabs(*stated - *of_values) > kRmsSlack * std::fabs(*of_values))) {
      const auto text = [](const std::optional<double>& rms) {
        return rms ? fmt::format("{:.6g}", *rms) : std::string("not finite");
      };
      other_rms.add(record, fmt::format("{}, its values' {}", text(stated), text(of_values)));
    }
  }
  std::vector<std::string> notes;
  not_finite.append_to(notes);
  contradicting.append_to(notes);
  other_rms.append_to(notes);
  return notes;
}

}  // namespace

Json to_json(const RunResult& result) {
  Json json = {
      {"engine", result.engine},
      {"prompt", result.prompt_is_text ? Json(result.prompt) : Json(nullptr)},
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
  if (result.level) {
    json["level"] = level_name(*result.level);
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
  const auto prompt = json.find("prompt");
  result.prompt_is_text = prompt == json.end() || !prompt->is_null();
  if (result.prompt_is_text) {
    TERN_ASSIGN_OR_RETURN(result.prompt, json_string(json, "prompt", where));
  }
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
  if (const std::string level = string_or_empty(json, "level"); !level.empty()) {
    result.level = parse_level(level);
    if (!result.level) {
      return invalid_input(where, fmt::format("level '{}' is none of {}", printable(level), level_names()));
    }
  }
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
  TERN_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxTraceBytes));
  TERN_ASSIGN_OR_RETURN(const Json json, parse_json_with_nan(text, path.string()));
  return record_from_json(json, path.string());
}

Result<Records> read_trace_folder(const fs::path& folder) {
  std::vector<TraceRecord> records;
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error) {
    return io_error(folder, "cannot be listed", error);
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

Result<Records> read_whole_records(const fs::path& folder, const fs::path& value_folder) {
  TERN_ASSIGN_OR_RETURN(Records written, read_trace_folder(folder));
  TERN_ASSIGN_OR_RETURN(const auto values, open_values(value_folder));
  return whole_records(std::move(written), values ? &*values : nullptr, folder.string());
}

Result<EngineRun> read_run_folder(const fs::path& folder, const std::optional<fs::path>& trace_folder) {
  EngineRun run;
  run.folder = folder;
  const fs::path result_path = folder / "result.json";
  TERN_ASSIGN_OR_RETURN(const std::string text, read_file(result_path, kMaxResultBytes));
  TERN_ASSIGN_OR_RETURN(const Json result, parse_json_with_nan(text, result_path.string()));
  TERN_ASSIGN_OR_RETURN(run.result, run_result_from_json(result, result_path.string()));
  TERN_RETURN_IF_ERROR(read_logits(folder, run));
  TERN_ASSIGN_OR_RETURN(run.values, open_values(folder));
  const fs::path& traces = trace_folder ? *trace_folder : folder;
  TERN_ASSIGN_OR_RETURN(Records written, read_trace_folder(traces));
  const Safetensors* const values = run.values ? &*run.values : nullptr;
  TERN_ASSIGN_OR_RETURN(run.trace, whole_records(std::move(written), values, traces.string()));
  run.notes = notes_on(run);
  return run;
}

}  // namespace tern::trace
