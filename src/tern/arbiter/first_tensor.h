// The first wrong tensor with each fault that could be the cause, from one child process. A fault is only the cause if
// it explains that tensor, so whole runs are for those that do. Private to arbiter/.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tern/arbiter/arbiter.h"
#include "tern/trace/safetensors.h"
#include "tern/trace/stage.h"

namespace tern::arbiter {

// Runs engines.one_tensor with the words of `tern oracle-tensor` behind it. The result has the tensor's values by the
// names of the faults: a shape of {0} where a fault leaves no such tensor, and no entry where it could not be computed.
// nullopt where there is no such command or it failed: then nothing is known of any fault. Errors: kIo, and kEngine
// when interrupted.
Result<std::optional<trace::Safetensors>> first_tensor_with_faults(const OracleEngines& engines,
                                                                   const Question& question,
                                                                   const trace::TensorId& first,
                                                                   const std::vector<std::string>& faults,
                                                                   const std::filesystem::path& inputs_from);

}  // namespace tern::arbiter
