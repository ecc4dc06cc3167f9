// Trace capture: the tensors one forward pass produced, at named stages.
// model/ calls in; trace/ never calls out. A null Recorder* means tracing is off and costs nothing.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/trace/neighbourhood.h"
#include "tern/trace/record.h"
#include "tern/trace/safetensors.h"
#include "tern/trace/stage.h"

namespace tern::trace {

class Recorder {
 public:
  virtual ~Recorder() = default;
  // `values`: float32, row-major, as many as the shape's product; valid during the call only. NaN and infinity are
  // recorded as they are. `dtype`: what the engine held before it was widened, by ggml's name in upper case. Called in
  // execution order, from one thread; that order becomes the records' `index`.
  virtual Status record(const TensorId& id, const Shape& shape, std::span<const float> values,
                        std::string_view dtype) = 0;
  Status record(const TensorId& id, const Shape& shape, std::span<const float> values) {
    return record(id, shape, values, "F32");
  }
};

// One file per tensor, or one trace.jsonl with a line for each: less than a tenth of the work for the file system.
enum class TraceForm { kFiles, kList };

// Writes <name>.trace files, or trace.jsonl at the end, and where asked all values into tensors.safetensors.
class FolderRecorder final : public Recorder {
 public:
  // Creates `folder`. Errors: kIo; kInvalidInput if it already holds *.trace files: a run never mixes its evidence with
  // that of an earlier one.
  static Result<std::unique_ptr<FolderRecorder>> create(const std::filesystem::path& folder,
                                                        TraceForm form = TraceForm::kFiles);

  // From here on the values are kept too, in `path`: those of at most `max_tensors` records (stages x layers x steps),
  // and of one neighbourhood only, where one is given.
  Status dump_values(const std::filesystem::path& path, uint64_t max_tensors,
                     const std::optional<Neighbourhood>& around = std::nullopt);

  using Recorder::record;
  Status record(const TensorId& id, const Shape& shape, std::span<const float> values, std::string_view dtype) override;
  // Completes trace.jsonl and tensors.safetensors. Without it, these files do not appear.
  Status finish();
  // Removes the files written so far: called when the run fails, so that nothing partial stays.
  void discard();

 private:
  FolderRecorder(std::filesystem::path folder, TraceForm form) : folder_(std::move(folder)), form_(form) {}

  std::filesystem::path folder_;
  TraceForm form_;
  uint64_t n_records_ = 0;
  std::string list_;  // lines of trace.jsonl
  std::vector<std::filesystem::path> written_;
  std::optional<SafetensorsWriter> values_;
  std::optional<Neighbourhood> around_;
};

// Keeps records and, where asked, values in memory: for tests and for comparisons inside one process.
class MemoryRecorder final : public Recorder {
 public:
  explicit MemoryRecorder(bool keep_values = false) : keep_values_(keep_values) {}
  using Recorder::record;
  Status record(const TensorId& id, const Shape& shape, std::span<const float> values, std::string_view dtype) override;

  const std::vector<TraceRecord>& records() const { return records_; }
  // Parallel to records(); empty unless values are kept.
  const std::vector<std::vector<float>>& values() const { return values_; }

 private:
  bool keep_values_;
  std::vector<TraceRecord> records_;
  std::vector<std::vector<float>> values_;
};

}  // namespace tern::trace
