// One run of tern's engine or of the oracle: what `tern run` does.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/interrupt.h"
#include "tern/engine/session.h"
#include "tern/trace/run_folder.h"
#include "tern/trace/stage.h"

namespace tern::app {

enum class RunEngine { kTern, kOracle };
// "tern", "oracle": what --engine takes.
std::vector<std::string> run_engine_names();

struct RunModelOptions {
  std::string engine = "tern";  // one of run_engine_names()
  std::string model, tokenizer;
  std::string prompt, prompt_file, out;
  std::vector<int32_t> token_ids, teacher;
  bool has_prompt = false, has_token_ids = false;
  int max_tokens = 16;
  double temperature = 0;
  bool greedy = false, ignore_eos = false, no_bos = false, dump_tensors = false;
  std::optional<uint64_t> seed;
  std::string threads;  // as text: checked together with the environment's value
  bool no_observe = false, trace_list = false;
  int64_t ubatch = 512;
  bool token_by_token = false;
  int64_t n_ctx = 0;  // 0: the model's
  std::string rounding = "product-first";
  engine::HeadCopy head_copy = engine::HeadCopy::kWhenWorthIt;
  int significant_bits = 0;
  std::string stages = "known";
  std::string inputs_from, oracle_arithmetic = "double", fault;
  std::optional<trace::TensorId> inputs_before, around;

  RunEngine runs() const { return engine == "oracle" ? RunEngine::kOracle : RunEngine::kTern; }
  int64_t tokens_at_once() const { return token_by_token ? 1 : ubatch; }
};

// "1,2,3". Errors: kUsage, naming `option`.
Result<std::vector<int32_t>> parse_token_ids(const std::string& option, std::string_view text);

// Writes what the options say and logs the speed. nullopt: interrupted. Errors: kUsage for options that contradict each
// other; kInvalidInput for the model, the tokenizer or ids outside of the vocabulary; kIo.
Result<std::optional<trace::RunResult>> run_model(const RunModelOptions& options, const Interrupt& interrupt);

}  // namespace tern::app
