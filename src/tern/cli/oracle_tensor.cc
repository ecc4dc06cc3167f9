// `tern oracle-tensor`: what arbiter/ starts to hold many faults against one tensor in one process.
#include "tern/app/oracle_tensor.h"

#include <memory>

#include "tern/cli/command.h"

namespace tern::cli {
namespace {

Result<int> compute(const app::OracleTensorOptions& options) {
  TERN_RETURN_IF_ERROR(app::oracle_tensor(options));
  return 0;
}

}  // namespace

void add_oracle_tensor(Command& app, Action& action) {
  const auto options = std::make_shared<app::OracleTensorOptions>();
  Command* command =
      app.add_subcommand("oracle-tensor", "One tensor of a run, as the oracle computes it with each of some faults");
  command->add_option("--model", options->model, "The GGUF file")->required();
  command->add_option("--tensor", options->tensor, "The tensor's name: blk3/q_proj, t1/blk0/out, logits")->required();
  command->add_option("--fault", options->faults, "Faults, as `tern run --help` lists them")->required();
  command->add_option("--token-ids", options->prompt, "The prompt's token ids: 1,2,3")->required()->delimiter(',');
  command->add_option("--teacher-tokens", options->fed, "What the decode steps are fed: 1,2,3")->delimiter(',');
  command->add_option("--inputs-from", options->inputs_from,
                      "A run folder (--dump-tensors) whose tensors go into it; without, all before it is computed");
  command->add_option("--inputs-before", options->inputs_before, "Take from there only tensors before this one");
  command->add_option("--around", options->around, "As in `tern run`: the inputs are of this tensor's layer only");
  command->add_option("--ubatch", options->ubatch, "Prompt tokens evaluated at once")
      ->check(in_range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "Faults that are evaluated at a time")
      ->check(in_range(1, 1024))
      ->capture_default_str();
  command->add_option("--out", options->out, "A safetensors file to write: a tensor for each fault, by its name")
      ->required();
  command->footer(
      "A diagnosis looks at the first wrong tensor with this before it runs whole passes.\n"
      "Example: tern oracle-tensor --model models/tern-tiny/tern-tiny-i2_s.gguf --token-ids 1,2,3 \\\n"
      "  --tensor blk0/q_rope --fault rope_base --fault rope_pairing --out with-faults.safetensors");
  command->callback([options, &action] { action = [options] { return compute(*options); }; });
}

}  // namespace tern::cli
