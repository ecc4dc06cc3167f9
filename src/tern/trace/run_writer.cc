#include "tern/trace/run_writer.h"

#include <utility>

#include "tern/base/file.h"

namespace tern::trace {
namespace fs = std::filesystem;

Result<RunWriter> RunWriter::begin(const RunFiles& files) {
  RunWriter writer;
  TERN_RETURN_IF_ERROR(writer.begin_files(files));
  return writer;
}

Status RunWriter::begin_files(const RunFiles& files) {
  run_folder_ = files.run_folder;
  const auto& trace_folder = files.trace_folder ? files.trace_folder : files.run_folder;
  if (run_folder_) {
    TERN_RETURN_IF_ERROR(make_folder(*run_folder_));
    for (const char* name : {"result.json", "trace.jsonl", "logits.safetensors", "tensors.safetensors"}) {
      std::error_code error;
      if (fs::exists(*run_folder_ / name, error)) {
        return invalid_input(run_folder_->string(), std::string("already holds a run: ") + name,
                             "choose an empty folder; a run never overwrites earlier evidence");
      }
    }
  }
  if (trace_folder && files.trace) {
    TERN_RETURN_IF_ERROR(make_folder(*trace_folder));
    TERN_ASSIGN_OR_RETURN(recorder_, FolderRecorder::create(*trace_folder, files.form));
    if (files.dump_tensors) {
      const fs::path path = run_folder_.value_or(*trace_folder) / "tensors.safetensors";
      TERN_RETURN_IF_ERROR(recorder_->dump_values(path, files.max_tensors, files.around));
      created_.push_back(path);
    }
  }
  if (run_folder_ && files.logits) {
    const fs::path path = *run_folder_ / "logits.safetensors";
    TERN_ASSIGN_OR_RETURN(logits_, SafetensorsWriter::create(path, SafetensorsWriter::header_bytes(1)));
    created_.push_back(path);
    TERN_RETURN_IF_ERROR(logits_->begin_rows("logits", files.n_vocab));
  }
  return {};
}

// Remembers which folders are new, to be able to remove them again.
Status RunWriter::make_folder(const fs::path& folder) {
  std::vector<fs::path> missing;
  std::error_code error;
  for (fs::path at = folder; !at.empty() && !fs::exists(at, error); at = at.parent_path()) missing.push_back(at);
  TERN_RETURN_IF_ERROR(create_folder(folder));
  created_.insert(created_.end(), missing.rbegin(), missing.rend());
  return {};
}

Status RunWriter::finish(const Json& result) {
  if (recorder_ != nullptr) {
    TERN_RETURN_IF_ERROR(recorder_->finish());
  }
  if (logits_) {
    TERN_RETURN_IF_ERROR(logits_->end_rows());
    TERN_RETURN_IF_ERROR(logits_->finish());
  }
  if (run_folder_) {
    TERN_RETURN_IF_ERROR(write_file(*run_folder_ / "result.json", to_json_text(result)));
  }
  recorder_.reset();
  created_.clear();
  return {};
}

RunWriter::~RunWriter() {
  if (recorder_ != nullptr) {
    recorder_->discard();
  }
  logits_.reset();
  std::error_code ignored;
  while (!created_.empty()) {
    fs::remove(created_.back(), ignored);  // of folders, only empty ones
    created_.pop_back();
  }
}

}  // namespace tern::trace
