#include "tern/app/oracle_tensor.h"

#include <fmt/format.h>

#include <optional>

#include "tern/oracle/one_tensor.h"
#include "tern/trace/safetensors.h"

namespace tern::app {

Status oracle_tensor(const OracleTensorOptions& options) {
  oracle::OneTensor tensor{.id = {}, .prompt = options.prompt, .fed = options.fed};
  tensor.ubatch = static_cast<size_t>(options.ubatch);
  TERN_ASSIGN_OR_RETURN(tensor.id, parse_tensor("--tensor", options.tensor));
  if (!options.around.empty()) {
    TERN_ASSIGN_OR_RETURN(tensor.around, parse_tensor("--around", options.around));
  }
  std::optional<trace::TensorId> before;
  if (!options.inputs_before.empty()) {
    TERN_ASSIGN_OR_RETURN(before, parse_tensor("--inputs-before", options.inputs_before));
  }
  TERN_ASSIGN_OR_RETURN(const gguf::View view, gguf::View::open(options.model));
  std::optional<trace::Inputs> inputs;
  if (!options.inputs_from.empty()) {
    TERN_ASSIGN_OR_RETURN(inputs, trace::Inputs::open(options.inputs_from, before));
    tensor.inputs = &*inputs;
  }
  TERN_ASSIGN_OR_RETURN(
      trace::SafetensorsWriter writer,
      trace::SafetensorsWriter::create(options.out, trace::SafetensorsWriter::header_bytes(options.faults.size())));
  TERN_RETURN_IF_ERROR(oracle::compute_with_faults(
      view, tensor, options.faults, options.threads, [&](const oracle::TensorWithFault& with) {
        return writer.add(std::string(with.fault), with.shape, with.values);
      }));
  return writer.finish();
}

Result<trace::TensorId> parse_tensor(const std::string& option, const std::string& text) {
  const auto id = trace::TensorId::parse(text);
  // tern's own engines compute the known stages only.
  return id && id->stage.is_known()
             ? Result<trace::TensorId>(*id)
             : fail(ErrorCode::kUsage, option, fmt::format("'{}' is no tensor's name", printable(text)),
                    "names are like blk3/q_proj, t1/blk0/out, logits");
}

}  // namespace tern::app
