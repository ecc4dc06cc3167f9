#include "tern/trace/inputs.h"

namespace tern::trace {

Result<Inputs> Inputs::open(const std::filesystem::path& run_folder) {
  TERN_ASSIGN_OR_RETURN(Safetensors values, Safetensors::open(run_folder / "tensors.safetensors"));
  return Inputs(std::move(values));
}

}  // namespace tern::trace
