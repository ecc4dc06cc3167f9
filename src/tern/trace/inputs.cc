#include "tern/trace/inputs.h"

#include "tern/trace/run_folder.h"

namespace tern::trace {

Result<Inputs> Inputs::open(const std::filesystem::path& run_folder, const std::optional<TensorId>& before) {
  TERN_ASSIGN_OR_RETURN(Safetensors values, Safetensors::open(run_folder / "tensors.safetensors"));
  Records records;
  if (before) {
    TERN_ASSIGN_OR_RETURN(records, read_trace_folder(run_folder));
  }
  return Inputs(std::move(values), before, std::move(records));
}

bool Inputs::is_taken(const TensorId& id) const {
  if (!before_) {
    return true;
  }
  const TraceRecord* const record = records_.find(id);
  const TraceRecord* const before = records_.find(*before_);
  return record != nullptr && before != nullptr ? record < before : id < *before_;  // records stand in execution order
}

}  // namespace tern::trace
