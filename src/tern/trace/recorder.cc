#include "tern/trace/recorder.h"

#include "tern/base/file.h"

namespace tern::trace {
namespace fs = std::filesystem;

Result<std::unique_ptr<FolderRecorder>> FolderRecorder::create(const fs::path& folder, TraceForm form) {
  TERN_RETURN_IF_ERROR(create_folder(folder));
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".trace") {
      return invalid_input(folder.string(), "already holds traces: " + entry.path().filename().string(),
                           "choose an empty folder, or remove the earlier run's *.trace files");
    }
  }
  if (error) {
    return io_error(folder, "cannot be listed", error);
  }
  return std::unique_ptr<FolderRecorder>(new FolderRecorder(folder, form));
}

Status FolderRecorder::dump_values(const fs::path& path, uint64_t max_tensors,
                                   const std::optional<Neighbourhood>& around) {
  around_ = around;
  if (SafetensorsWriter::header_bytes(max_tensors) > Safetensors::kMaxHeaderBytes) {
    return invalid_input(path.string(),
                         "would hold the values of too many tensors for one file: up to " + std::to_string(max_tensors),
                         "generate fewer tokens");
  }
  TERN_ASSIGN_OR_RETURN(values_, SafetensorsWriter::create(path, SafetensorsWriter::header_bytes(max_tensors)));
  return {};
}

Status FolderRecorder::record(const TensorId& id, const Shape& shape, std::span<const float> values,
                              std::string_view dtype) {
  TraceRecord made = make_record(id, shape, values);
  made.dtype = dtype;
  made.index = n_records_++;
  const std::string line = to_json_line(to_json(made)) + "\n";
  if (form_ == TraceForm::kList) {
    list_ += line;
  } else {
    const fs::path path = folder_ / trace_file_name(id);
    TERN_RETURN_IF_ERROR(write_new_file(path, line));
    written_.push_back(path);
  }
  const bool kept = values_ && (!around_ || around_->holds(id));
  return kept ? values_->add(id.name(), shape, values) : Status();
}

Status FolderRecorder::finish() {
  if (form_ == TraceForm::kList) {
    const fs::path path = folder_ / "trace.jsonl";
    TERN_RETURN_IF_ERROR(write_file(path, list_));
    written_.push_back(path);
  }
  return values_ ? values_->finish() : Status();
}

void FolderRecorder::discard() {
  std::error_code ignored;
  for (const fs::path& path : written_) {
    fs::remove(path, ignored);
  }
  written_.clear();
  values_.reset();
}

Status MemoryRecorder::record(const TensorId& id, const Shape& shape, std::span<const float> values,
                              std::string_view dtype) {
  TraceRecord made = make_record(id, shape, values);
  made.dtype = dtype;
  made.index = records_.size();
  records_.push_back(std::move(made));
  if (keep_values_) {
    values_.emplace_back(values.begin(), values.end());
  }
  return {};
}

}  // namespace tern::trace
