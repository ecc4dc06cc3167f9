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

bool Inputs::is_taken(const TensorId& id) const { return !before_ || executed_before(records_, id, *before_); }

}  // namespace tern::trace
