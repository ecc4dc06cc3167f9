#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <memory>

#include "tern/app/oracle_engine.h"
#include "tern/app/oracle_tensor.h"
#include "tern/app/run_model.h"
#include "tern/app/until_interrupted.h"
#include "tern/base/json.h"
#include "tern/base/print.h"
#include "tern/cli/command.h"
#include "tern/cli/options.h"
#include "tern/oracle/faults.h"
#include "tern/peer/number_limits.h"

namespace tern::cli {
namespace {

struct RunOptions : app::RunModelOptions {
  std::string token_ids_text, teacher_text, inputs_before_text, around_text;  // as typed
  bool json = false;
};

Result<int> run(RunOptions options) {
  if (options.has_token_ids) {
    TERN_ASSIGN_OR_RETURN(options.token_ids, app::parse_token_ids("--token-ids", options.token_ids_text));
  }
  if (!options.teacher_text.empty()) {
    TERN_ASSIGN_OR_RETURN(options.teacher, app::parse_token_ids("--teacher-tokens", options.teacher_text));
  }
  if (!options.around_text.empty()) {
    TERN_ASSIGN_OR_RETURN(options.around, app::parse_tensor("--around", options.around_text));
  }
  if (!options.inputs_before_text.empty()) {
    TERN_ASSIGN_OR_RETURN(options.inputs_before, app::parse_tensor("--inputs-before", options.inputs_before_text));
  }
  const Interrupt interrupt;
  TERN_ASSIGN_OR_RETURN(const std::optional<trace::RunResult> result, app::run_model(options, interrupt));
  if (!result) {
    return app::exit_code_of_signal(interrupt.signal());
  }
  if (options.json) {
    print_out(to_json_text(to_json(*result)));
  } else {
    print_out(fmt::format("Generated tokens: [{}]\n{}\n", fmt::join(result->generated_tokens, ", "), result->text));
  }
  return 0;
}

void add_engine_options(Command& command, RunOptions& options) {
  command
      .add_option("--engine", options.engine,
                  "tern, or oracle: a plain evaluation in double precision, to say who is wrong (slow)")
      ->check(one_of(app::run_engine_names()))
      ->capture_default_str();
  command.add_option("--significant-bits", options.significant_bits,
                     "With --engine oracle: round every stage to so many bits, 8 to 52 (float16 has 11)");
  command
      .add_option("--arithmetic", options.oracle_arithmetic,
                  "With --engine oracle: double, or float32 as right engines may compute it, for what rounding does")
      ->check(one_of(app::oracle_arithmetics()))
      ->capture_default_str();
  command.add_option(
      "--inputs-from", options.inputs_from,
      "Compute each stage from the tensors that this run folder (--dump-tensors) has of those before it");
  command.add_option("--inputs-before", options.inputs_before_text,
                     "Take from there only tensors that are executed before this one (blk3/q_proj)");
  command
      .add_option("--fault", options.fault,
                  "With --engine oracle: compute with a known fault, to test a judge. One of the list below")
      ->check([](const std::string& text) {
        const auto chosen = oracle::parse_fault(text);
        return chosen ? std::string() : chosen.error().line();
      });
  command.add_option("--threads", options.threads, "Threads; default: RAYON_NUM_THREADS, or one for each core");
  command.add_option("--ubatch", options.ubatch, "Prompt tokens evaluated at once")
      ->check(in_range(1, peer::kMostTokensAtOnce))
      ->capture_default_str();
  command
      .add_option("--stages", options.stages,
                  "What is recorded: known, the known stages; all, every node of the graph. The graphs of this "
                  "engine consist of the known stages, so both are the same")
      ->check(one_of({"known", "all"}))
      ->capture_default_str();
  command.add_flag("--token-by-token", options.token_by_token, "The same as --ubatch 1, and wins over it");
  command.add_option("--ctx", options.n_ctx, "Most positions to use; default: what the model was made for")
      ->check(in_range(1, 1 << 24));
  add_head_copy_option(command, options.head_copy);
  command
      .add_option("--activation-rounding", options.rounding,
                  "How bitnet.cpp was compiled: clang rounds products first, g++ fuses")
      ->check(one_of({"product-first", "fused"}))
      ->capture_default_str();
}

void add_generation_options(Command& command, RunOptions& options) {
  command.add_option("--max-tokens", options.max_tokens, "Tokens to generate")
      ->check(in_range(1, 1 << 24))
      ->capture_default_str();
  command.add_option("--temperature", options.temperature, "0 is greedy; above, tokens are drawn at random")
      ->capture_default_str();
  command.add_flag("--greedy", options.greedy, "The same as --temperature 0, and wins over it");
  command.add_option("--seed", options.seed, "Of the random draws; default: BITNET_SEED, or 42");
  command.add_option(
      "--teacher-tokens", options.teacher_text,
      "Feed these ids (1,2,3) in the decode steps instead of the tokens chosen; end-of-text stops nothing");
  command.add_flag("--ignore-eos", options.ignore_eos, "Do not stop at an end-of-text token");
  command.add_flag("--no-bos", options.no_bos, "Do not put the BOS token in front of the prompt");
}

}  // namespace

void add_run(Command& app, Action& action) {
  const auto options = std::make_shared<RunOptions>();
  Command* command = app.add_subcommand("run", "Generate text, and trace how it was computed");
  command->add_option("--model", options->model, "The GGUF file")->required();
  command->add_option("--tokenizer", options->tokenizer, "A tokenizer.json; default: the GGUF's own vocabulary");
  CommandOption* prompt = command->add_option("--prompt", options->prompt, "The text to continue");
  command->add_option("--prompt-file", options->prompt_file, "A file that holds it");
  CommandOption* ids = command->add_option("--token-ids", options->token_ids_text, "Its token ids instead: 1,2,3");
  add_generation_options(*command, *options);
  add_engine_options(*command, *options);
  command->add_option("--out", options->out, "Folder for result.json, traces and logits.safetensors");
  command->add_flag("--no-observe", options->no_observe, "No traces, whatever --out and BITNET_TRACE_DIR say");
  command->add_flag("--trace-list", options->trace_list, "Traces as one trace.jsonl instead of a file for each tensor");
  command->add_flag("--dump-tensors", options->dump_tensors, "Keep the values of all traced tensors, too");
  command->add_option("--around", options->around_text,
                      "With --dump-tensors: only those of this tensor's layer (blk3/q_proj), and what goes into it");
  command->add_flag("--json", options->json, "Print result.json instead of the text");
  command->footer(
      std::string("Example: tern run --model models/tern-tiny/tern-tiny-i2_s.gguf --prompt \"Once upon a time\" "
                  "--max-tokens 32\n") +
      "Environment: BITNET_TRACE_DIR (traces go there), BITNET_SEED, BITNET_DETERMINISTIC (temperature 0),\n"
      "RAYON_NUM_THREADS, TERN_ISA (scalar, avx2, avx512, neon: force the kernels).\n" +
      app::fault_help());
  command->callback([options, prompt, ids, &action] {
    options->has_prompt = prompt->count() > 0;
    options->has_token_ids = ids->count() > 0;
    action = [options] { return run(*options); };
  });
}

}  // namespace tern::cli
