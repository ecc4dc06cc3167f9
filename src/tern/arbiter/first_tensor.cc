#include "tern/arbiter/first_tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "tern/base/child_process.h"
#include "tern/base/file.h"
#include "tern/trace/stage.h"

namespace tern::arbiter {
namespace fs = std::filesystem;
namespace {

std::vector<std::string> command_of(const OracleEngines& engines, const Question& question,
                                    const trace::TensorId& first, const std::vector<std::string>& faults,
                                    const fs::path& inputs_from, const fs::path& out) {
  std::vector<std::string> words = engines.one_tensor;
  const auto add = [&](const char* option, const std::string& value) {
    if (!value.empty()) {
      words.insert(words.end(), {option, value});
    }
  };
  add("--model", question.model.string());
  add("--tensor", first.name());
  add("--token-ids", fmt::format("{}", fmt::join(question.prompt_tokens, ",")));
  add("--teacher-tokens", fmt::format("{}", fmt::join(question.fed_tokens, ",")));
  add("--around", question.around);
  add("--inputs-from", (inputs_from.empty() ? question.inputs_from : inputs_from).string());
  add("--inputs-before", inputs_from.empty() ? question.inputs_before : "");
  add("--ubatch", question.ubatch > 0 ? std::to_string(question.ubatch) : "");
  add("--threads", std::to_string(question.threads));
  add("--out", out.string());
  for (const std::string& fault : faults) {
    add("--fault", fault);
  }
  return words;
}

}  // namespace

Result<std::optional<trace::Safetensors>> first_tensor_with_faults(const OracleEngines& engines,
                                                                   const Question& question,
                                                                   const trace::TensorId& first,
                                                                   const std::vector<std::string>& faults,
                                                                   const fs::path& inputs_from) {
  if (engines.one_tensor.empty() || faults.empty()) {
    return std::nullopt;
  }
  const fs::path out = fs::absolute(question.folder / "first-tensor-with-faults.safetensors");
  ChildCommand child;
  child.argv = command_of(engines, question, first, faults, inputs_from, out);
  child.timeout_s = question.timeout_s;
  child.interrupt = question.interrupt;
  const auto process = run_child(child);
  std::optional<trace::Safetensors> values;
  if (process && process->exit_code == 0) {
    if (auto opened = trace::Safetensors::open(out)) {
      values = std::move(*opened);  // mapped: it can still be read when the file is gone
    }
  }
  std::error_code ignored;
  fs::remove(out, ignored);
  if (process && process->interrupted) {
    return fail(ErrorCode::kEngine, "the oracle", "was interrupted");
  }
  return values;
}

}  // namespace tern::arbiter
