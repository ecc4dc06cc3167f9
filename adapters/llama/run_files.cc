#include "run_files.h"

#include "tern/base/file.h"

namespace tern::adapter {
namespace fs = std::filesystem;
using trace::SafetensorsWriter;
namespace {

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
    const bool list = options.trace_folder.empty();
    TERN_ASSIGN_OR_RETURN(files.trace_,
                          trace::FolderRecorder::create(list ? options.out : options.trace_folder,
                                                        list ? trace::TraceForm::kList : trace::TraceForm::kFiles));
    if (options.dump_tensors) {
      TERN_RETURN_IF_ERROR(
          files.trace_->dump_values(options.out / "tensors.safetensors", options.max_tensors, options.around));
    }
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
  TERN_RETURN_IF_ERROR(write_file(out_ / "result.json", to_json_text(result)));
  trace_.reset();
  return {};
}

RunFiles::~RunFiles() {
  if (trace_ != nullptr) {
    trace_->discard();
  }
}

}  // namespace tern::adapter
