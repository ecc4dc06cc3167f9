// Writes the engine contract's folder while the engine runs. A run that fails leaves nothing: files appear when they
// are whole, result.json last.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>

#include "tern/base/error.h"
#include "tern/base/json.h"
#include "tern/trace/recorder.h"
#include "tern/trace/safetensors.h"

namespace tern::adapter {

struct RunFilesOptions {
  std::filesystem::path out;
  std::filesystem::path trace_folder;  // a file for each tensor goes there; empty: trace.jsonl in `out`
  bool trace = true;
  bool dump_tensors = false;
  std::optional<trace::Neighbourhood> around = {};  // of these tensors only
  int n_vocab = 0;
  uint64_t max_tensors = 0;  // an upper bound on what will be recorded
};

class RunFiles {
 public:
  // Errors: kIo; kInvalidInput for a folder that holds an earlier run.
  static Result<RunFiles> create(const RunFilesOptions& options);
  RunFiles(RunFiles&&) noexcept = default;
  RunFiles& operator=(RunFiles&&) = delete;
  ~RunFiles();

  trace::Recorder* recorder() { return trace_.get(); }  // null where nothing is traced
  Status append_logits(std::span<const float> row) { return logits_->append_rows(row); }
  Status finish(const Json& result);

 private:
  RunFiles() = default;

  std::filesystem::path out_;
  std::unique_ptr<trace::FolderRecorder> trace_;  // null once its files are to stay
  std::optional<trace::SafetensorsWriter> logits_;
};

}  // namespace tern::adapter
