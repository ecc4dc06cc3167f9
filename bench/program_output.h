// What benchmark programs print, as figures: those of llama.cpp and its relatives, bitnet.cpp's of its product of
// matrices, and our own. Called by compare_peers only. Everything read here comes from programs of others, warnings of
// theirs mixed in: what does not parse, or does not hold the figure asked for, is an Error that names the program.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/json.h"
#include "tern/base/median.h"

namespace tern::bench {

// The JSON objects in `output` that begin on a line of their own, whatever is printed around them. Errors:
// kInvalidInput: one that is not closed or is no JSON, more than 1000.
Result<std::vector<Json>> json_objects_in(std::string_view output, const std::string& program);

// Which way llama-bench has to time decoding in a context that is filled already.
enum class DepthOption {
  kNone,           // bitnet.cpp, llama.cpp of 2024: none
  kDepth,          // llama.cpp of today: -n TOKENS -d POSITIONS
  kPrefilledPair,  // ik_llama.cpp: -gp POSITIONS,TOKENS
};
DepthOption depth_option_in_help(std::string_view help);

// One line of llama-bench's table, as `-o json` prints it. With kPrefilledPair a test of n_prompt and n_gen times the
// n_gen tokens alone, with -pg both; they look the same, so n_prompt must not be asked for with -pg.
struct LlamaBenchTest {
  int64_t n_prompt = 0;
  int64_t n_gen = 0;
  int64_t n_depth = 0;
  std::vector<double> seconds;  // of each repetition; not empty, all above 0

  double median_s() const { return median(seconds); }
};
Result<std::vector<LlamaBenchTest>> read_llama_bench(std::string_view output, const std::string& program);
// The test of these three sizes. Errors: kInvalidInput, if there is not exactly one.
Result<LlamaBenchTest> find_test(const std::vector<LlamaBenchTest>& tests, int64_t n_prompt, int64_t n_gen,
                                 int64_t n_depth, const std::string& program);

// Decode speed from llama-batched-bench (--output-format jsonl) after n_prompt positions.
Result<double> read_batched_bench(std::string_view output, int64_t n_prompt, int64_t n_gen, const std::string& program);

// `tern bench --json`.
struct TernBench {
  double prefill_tokens_per_s = 0;
  double decode_tokens_per_s = 0;
  double head_copy_s = 0;  // once, and in neither of the two; 0 where it says nothing of it
};
Result<TernBench> read_tern_bench(std::string_view output, const std::string& program);

// Milliseconds a product, from what bitnet.cpp's utils/test_gemm_kernel.sh compiles ("Average time  : 0.076 ms").
Result<double> read_gemm_program(std::string_view output, const std::string& program);

// Milliseconds of one iteration of the only benchmark in Google Benchmark's JSON.
Result<double> read_google_benchmark(std::string_view json, const std::string& program);

// Seconds in the `timing` of an engine contract's result.json.
struct ContractTiming {
  double prefill_s = 0;
  double decode_s = 0;
  int64_t n_prompt = 0;
  int64_t n_generated = 0;
};
Result<ContractTiming> read_contract_result(std::string_view json, const std::string& where);

}  // namespace tern::bench
