// Writes what one generation computed as an engine-contract folder (run_folder.h), while it is being computed: for
// `tern run` with either of its engines, and for the programs of adapters/. Nothing partial stays behind: a writer that
// is destroyed before finish() removes what it wrote and the folders it made.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "tern/base/error.h"
#include "tern/trace/recorder.h"
#include "tern/trace/run_folder.h"
#include "tern/trace/safetensors.h"

namespace tern::trace {

struct RunFiles {
  std::optional<std::filesystem::path> run_folder = {};    // result.json, logits.safetensors; traces too, unless:
  std::optional<std::filesystem::path> trace_folder = {};  // *.trace go here
  TraceForm form = TraceForm::kFiles;
  bool trace = true;          // false: no recorder, whatever folders there are
  bool dump_tensors = false;  // tensors.safetensors in the run folder, or in the trace folder where there is no other
  std::optional<Neighbourhood> around = {};  // of these tensors only
  bool logits = true;                        // write logits.safetensors
  int64_t n_vocab = 0;
  uint64_t max_tensors = 0;  // an upper bound on what will be recorded
};

class RunWriter {
 public:
  // Errors: kIo; kInvalidInput where a folder already holds traces.
  static Result<RunWriter> begin(const RunFiles& files);
  RunWriter(RunWriter&&) noexcept = default;
  RunWriter& operator=(RunWriter&&) = delete;
  ~RunWriter();

  Recorder* recorder() { return recorder_.get(); }  // null where no trace was asked for
  bool wants_logits() const { return logits_.has_value(); }
  // rows: [n, n_vocab], the next positions' logits.
  Status append_logits(std::span<const float> rows) { return logits_->append_rows(rows); }

  // Completes all files; result.json is the last, so a folder that has one is whole.
  Status finish(const RunResult& result) { return finish(to_json(result)); }
  // The same, with more keys than those of RunResult.
  Status finish(const Json& result);

 private:
  RunWriter() = default;
  Status make_folder(const std::filesystem::path& folder);
  Status begin_files(const RunFiles& files);

  std::optional<std::filesystem::path> run_folder_;
  std::unique_ptr<FolderRecorder> recorder_;
  std::optional<SafetensorsWriter> logits_;
  std::vector<std::filesystem::path> created_;  // files and folders that did not exist before, outermost first
};

}  // namespace tern::trace
