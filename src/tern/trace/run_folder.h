// The engine contract: what one engine computed for one prompt, as a folder of files that any program can write.
//   result.json           engine, prompt, token ids, timing
//   *.trace, or trace.jsonl   one record per tensor
//   logits.safetensors    "logits", floats [positions, vocab]: a row for each prompt position and each decode step
//   top-logits.safetensors   instead of it: the largest of each row and their log-sum-exp (top_logits.h)
//   tensors.safetensors   values of the traced tensors by trace name (optional)
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/json.h"
#include "tern/trace/level.h"
#include "tern/trace/record.h"
#include "tern/trace/safetensors.h"
#include "tern/trace/top_logits.h"

namespace tern::trace {

// result.json. Seconds are absent where the engine does not state them.
struct RunResult {
  std::string engine;  // "tern 0.1.0 (avx2)"
  // Which rounding rules the numbers follow, e.g. "bitnet.cpp-x86-64". Two runs that name the same arithmetic must be
  // equal bit for bit; otherwise they are held to tolerances. Empty: not claimed.
  std::string arithmetic;
  std::string prompt;
  bool prompt_is_text = true;  // false: the prompt was given by its ids, and `prompt` is empty (null in the file)
  int max_tokens = 0;
  std::vector<int32_t> prompt_tokens;
  std::vector<int32_t> generated_tokens;
  // What was fed instead of the engine's own choices, from the first decode step on (teacher forcing). Empty: it went
  // on with its own. Row n_prompt - 1 + i of the logits then favours generated_tokens[i], after having seen
  // teacher_tokens[0 .. i-1].
  std::vector<int32_t> teacher_tokens;
  std::string text;          // the generated tokens decoded, invalid UTF-8 replaced
  std::string model_sha256;  // empty where not known
  // What the engine was set to, by key, as it states it: {"threads": 4, "flash_attention": "off"}; null: not stated.
  Json settings;
  std::optional<Level> level = std::nullopt;  // what it can be compared on; absent where not stated
  std::optional<double> load_s, prefill_s, decode_s;
};
Json to_json(const RunResult& result);
Result<RunResult> run_result_from_json(const Json& json, const std::string& where);

// Everything found in a run folder. Values are mapped, not copied: the folder must stay as it is while this lives.
struct EngineRun {
  std::filesystem::path folder;
  RunResult result;
  Records trace;
  std::optional<Safetensors> logits_file;
  std::optional<TopLogits> top_logits;  // never beside logits_file
  std::optional<Safetensors> values;
  std::vector<std::string> notes = {};  // what is odd about the records: sentences without a subject

  // float32 [positions, vocab]; null where the run has none.
  const Safetensors::Entry* logits() const;
  // One logit of a row, from whichever of the two files there is; nullopt where it is not in it.
  std::optional<float> logit(size_t row, int32_t id) const;
  const TraceRecord* find(const TensorId& id) const { return trace.find(id); }
};

// Traces come from `trace_folder` where given (the BITNET_TRACE_DIR of that run), otherwise from `folder`.
// What records leave out is derived from tensors.safetensors, records of values without one included.
// Errors: kIo, kInvalidInput: a missing or damaged result.json, two records of one name, a record with neither a hash
// nor values, logits of another shape than the tokens demand, both kinds of logits.
Result<EngineRun> read_run_folder(const std::filesystem::path& folder,
                                  const std::optional<std::filesystem::path>& trace_folder = std::nullopt);

// All records of a folder of *.trace files or with a trace.jsonl, as they are written. Errors: kIo, kInvalidInput.
Result<Records> read_trace_folder(const std::filesystem::path& folder);
// The same, with what they leave out derived from the tensors.safetensors of `value_folder`, where there is one. Errors
// also: a record with neither a hash nor values.
Result<Records> read_whole_records(const std::filesystem::path& folder, const std::filesystem::path& value_folder);

// One *.trace file. Errors: kIo, kInvalidInput.
Result<TraceRecord> read_trace_file(const std::filesystem::path& path);

}  // namespace tern::trace
