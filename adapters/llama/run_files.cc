#include "run_files.h"

#include <utility>

#include "tern/base/file.h"
#include "tern/trace/record.h"

namespace tern::adapter {
namespace fs = std::filesystem;
using trace::SafetensorsWriter;
namespace {

// trace.jsonl, a record per line.
class TraceList final : public TraceFile {
 public:
  static Result<std::unique_ptr<TraceFile>> create(const RunFilesOptions& options) {
    TERN_ASSIGN_OR_RETURN(auto lines, FileWriter::create(options.out / "trace.jsonl"));
    std::unique_ptr<TraceList> list(new TraceList(std::move(lines)));
    if (options.dump_tensors) {
      TERN_ASSIGN_OR_RETURN(list->values_,
                            SafetensorsWriter::create(options.out / "tensors.safetensors",
                                                      SafetensorsWriter::header_bytes(options.max_tensors)));
    }
    return list;
  }

  Status record(const trace::TensorId& id, const trace::Shape& shape, std::span<const float> values) override {
    TERN_RETURN_IF_ERROR(lines_.append(to_json_line(to_json(trace::make_record(id, shape, values))) + "\n"));
    return values_ ? values_->add(id.name(), shape, values) : Status();
  }

  Status finish() override {
    if (values_) {
      TERN_RETURN_IF_ERROR(values_->finish());
    }
    return lines_.commit();
  }

 private:
  explicit TraceList(FileWriter lines) : lines_(std::move(lines)) {}

  FileWriter lines_;
  std::optional<SafetensorsWriter> values_;
};

// BITNET_TRACE_DIR: a file per tensor.
class TraceFolder final : public TraceFile {
 public:
  static Result<std::unique_ptr<TraceFile>> create(const RunFilesOptions& options) {
    TERN_ASSIGN_OR_RETURN(auto files, trace::FolderRecorder::create(options.trace_folder));
    if (options.dump_tensors) {
      TERN_RETURN_IF_ERROR(files->dump_values(options.out / "tensors.safetensors", options.max_tensors));
    }
    return std::unique_ptr<TraceFile>(new TraceFolder(std::move(files)));
  }
  ~TraceFolder() override {
    if (files_ != nullptr) files_->discard();
  }
  TraceFolder(const TraceFolder&) = delete;
  TraceFolder& operator=(const TraceFolder&) = delete;

  Status record(const trace::TensorId& id, const trace::Shape& shape, std::span<const float> values) override {
    return files_->record(id, shape, values);
  }

  Status finish() override {
    TERN_RETURN_IF_ERROR(files_->finish());
    files_.reset();
    return {};
  }

 private:
  explicit TraceFolder(std::unique_ptr<trace::FolderRecorder> files) : files_(std::move(files)) {}

  std::unique_ptr<trace::FolderRecorder> files_;  // null once they are to stay
};

Status refuse_earlier_run(const fs::path& out) {
  std::error_code error;
  for (const char* name : {"result.json", "trace.jsonl", "logits.safetensors", "tensors.safetensors"}) {
    if (fs::exists(out / name, error)) {
      return invalid_input(out.string(), std::string("already holds a run: ") + name, "choose an empty folder");
    }
  }
  return {};
}

}  // namespace

Result<RunFiles> RunFiles::create(const RunFilesOptions& options) {
  RunFiles files;
  files.out_ = options.out;
  TERN_RETURN_IF_ERROR(create_folder(options.out));
  TERN_RETURN_IF_ERROR(refuse_earlier_run(options.out));
  if (options.trace) {
    TERN_ASSIGN_OR_RETURN(files.trace_,
                          options.trace_folder.empty() ? TraceList::create(options) : TraceFolder::create(options));
  }
  TERN_ASSIGN_OR_RETURN(
      files.logits_, SafetensorsWriter::create(options.out / "logits.safetensors", SafetensorsWriter::header_bytes(1)));
  TERN_RETURN_IF_ERROR(files.logits_->begin_rows("logits", options.n_vocab));
  return files;
}

Status RunFiles::finish(const Json& result) {
  if (trace_ != nullptr) {
    TERN_RETURN_IF_ERROR(trace_->finish());
  }
  TERN_RETURN_IF_ERROR(logits_->end_rows());
  TERN_RETURN_IF_ERROR(logits_->finish());
  return write_file(out_ / "result.json", to_json_text(result));
}

}  // namespace tern::adapter
