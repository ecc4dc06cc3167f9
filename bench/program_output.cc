#include "program_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

namespace tern::bench {
namespace {

constexpr size_t kMaxObjects = 1000;
constexpr int64_t kMaxTokens = int64_t{1} << 40;
// Months: more than any program was given.
constexpr double kMaxSeconds = 1e7;

// Where the object that begins at `text[0]` ends (one behind its brace), or nullopt.
std::optional<size_t> end_of_object(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      i += c == '\\' ? 1 : 0;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{') {
      ++depth;
    } else if (c == '}' && --depth == 0) {
      return i + 1;
    }
  }
  return std::nullopt;
}

Result<double> positive_number(const Json& object, const char* key, const std::string& program) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_number()) {
    return invalid_input(program, fmt::format("its output has no number {}", key));
  }
  const double value = it->get<double>();
  if (!std::isfinite(value) || value <= 0) {
    return invalid_input(program, fmt::format("its output has {} = {}", key, value));
  }
  return value;
}

Result<std::vector<double>> sample_seconds(const Json& object, const std::string& program) {
  const auto samples = object.find("samples_ns");
  if (samples == object.end() || !samples->is_array() || samples->empty() || samples->size() > kMaxObjects) {
    return invalid_input(program, "a test in its output has no list samples_ns");
  }
  std::vector<double> seconds;
  for (const Json& sample : *samples) {
    const double value = sample.is_number() ? sample.get<double>() * 1e-9 : 0;
    if (!(value > 0 && value < kMaxSeconds)) {
      return invalid_input(program, "a test in its output has a time that is none: " + printable(sample.dump(), 40));
    }
    seconds.push_back(value);
  }
  return seconds;
}

Result<Json> only_object(std::string_view output, const char* key, const std::string& program) {
  TERN_ASSIGN_OR_RETURN(const std::vector<Json> objects, json_objects_in(output, program));
  std::optional<Json> found;
  for (const Json& object : objects) {
    if (object.contains(key)) {
      if (found) return invalid_input(program, fmt::format("its output holds two results with {}", key));
      found = object;
    }
  }
  if (!found) return invalid_input(program, fmt::format("its output holds no result with {}", key));
  return *std::move(found);
}

}  // namespace

Result<std::vector<Json>> json_objects_in(std::string_view output, const std::string& program) {
  std::vector<Json> objects;
  for (size_t at = 0; at < output.size();) {
    const size_t word = output.find_first_not_of(" \t", at);
    if (word != std::string_view::npos && output[word] == '{') {
      const std::string_view rest = output.substr(word);
      const auto length = end_of_object(rest);
      if (!length) return invalid_input(program, "a JSON object in its output has no end");
      TERN_ASSIGN_OR_RETURN(Json object, parse_json(rest.substr(0, *length), program + "'s output"));
      if (objects.size() == kMaxObjects) return invalid_input(program, "too many JSON objects in its output");
      objects.push_back(std::move(object));
      at = word + *length;
    }
    const size_t line_end = output.find('\n', at);
    if (line_end == std::string_view::npos) break;
    at = line_end + 1;
  }
  return objects;
}

DepthOption depth_option_in_help(std::string_view help) {
  if (help.find("--n-depth") != std::string_view::npos) return DepthOption::kDepth;
  if (help.find("-gp <pp,tg>") != std::string_view::npos) return DepthOption::kPrefilledPair;
  return DepthOption::kNone;
}

Result<std::vector<LlamaBenchTest>> read_llama_bench(std::string_view output, const std::string& program) {
  TERN_ASSIGN_OR_RETURN(const std::vector<Json> objects, json_objects_in(output, program));
  std::vector<LlamaBenchTest> tests;
  for (const Json& object : objects) {
    if (!object.contains("samples_ns")) continue;
    LlamaBenchTest test;
    TERN_ASSIGN_OR_RETURN(test.n_prompt, json_integer(object, "n_prompt", program, 0, kMaxTokens));
    TERN_ASSIGN_OR_RETURN(test.n_gen, json_integer(object, "n_gen", program, 0, kMaxTokens));
    if (object.contains("n_depth")) {
      TERN_ASSIGN_OR_RETURN(test.n_depth, json_integer(object, "n_depth", program, 0, kMaxTokens));
    }
    TERN_ASSIGN_OR_RETURN(test.seconds, sample_seconds(object, program));
    tests.push_back(std::move(test));
  }
  return tests;
}

Result<LlamaBenchTest> find_test(const std::vector<LlamaBenchTest>& tests, int64_t n_prompt, int64_t n_gen,
                                 int64_t n_depth, const std::string& program) {
  const LlamaBenchTest* found = nullptr;
  for (const LlamaBenchTest& test : tests) {
    if (test.n_prompt != n_prompt || test.n_gen != n_gen || test.n_depth != n_depth) continue;
    if (found != nullptr) {
      found = nullptr;
      break;
    }
    found = &test;
  }
  if (found == nullptr) {
    return invalid_input(program,
                         fmt::format("its output does not hold exactly one test of n_prompt {}, n_gen {}, n_depth {}",
                                     n_prompt, n_gen, n_depth),
                         "it has to be llama-bench, and to know -o json");
  }
  return *found;
}

Result<double> read_batched_bench(std::string_view output, int64_t n_prompt, int64_t n_gen,
                                  const std::string& program) {
  TERN_ASSIGN_OR_RETURN(const Json result, only_object(output, "speed_tg", program));
  TERN_RETURN_IF_ERROR(json_integer(result, "pp", program, n_prompt, n_prompt));
  TERN_RETURN_IF_ERROR(json_integer(result, "tg", program, n_gen, n_gen));
  TERN_RETURN_IF_ERROR(json_integer(result, "pl", program, 1, 1));
  TERN_ASSIGN_OR_RETURN(const double seconds, positive_number(result, "t_tg", program));
  return static_cast<double>(n_gen) / seconds;
}

Result<TernBench> read_tern_bench(std::string_view output, const std::string& program) {
  TERN_ASSIGN_OR_RETURN(const Json result, only_object(output, "prefill", program));
  const auto decode = result.find("decode");
  if (!result["prefill"].is_object() || decode == result.end() || !decode->is_object()) {
    return invalid_input(program, "its output lacks prefill or decode");
  }
  TernBench figures;
  TERN_ASSIGN_OR_RETURN(figures.prefill_tokens_per_s, positive_number(result["prefill"], "tokens_per_s", program));
  TERN_ASSIGN_OR_RETURN(figures.decode_tokens_per_s, positive_number(*decode, "tokens_per_s", program));
  if (const auto copy = result.find("head_copy_s"); copy != result.end() && *copy != 0) {
    TERN_ASSIGN_OR_RETURN(figures.head_copy_s, positive_number(result, "head_copy_s", program));
  }
  return figures;
}

Result<double> read_gemm_program(std::string_view output, const std::string& program) {
  const Error missing{ErrorCode::kInvalidInput, program, "its output has no line 'Average time  : N ms'",
                      "it has to be what bitnet.cpp's utils/test_gemm_kernel.sh compiles"};
  const size_t label = output.find("Average time");
  if (label == std::string_view::npos) return tl::unexpected(missing);
  std::string_view line = output.substr(label, std::min(output.find('\n', label), output.size()) - label);
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return tl::unexpected(missing);
  line.remove_prefix(std::min(line.find_first_not_of(": \t", colon), line.size()));
  double milliseconds = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), milliseconds);
  const std::string_view unit(end, static_cast<size_t>(line.data() + line.size() - end));
  if (error != std::errc() || !unit.starts_with(" ms") || !(milliseconds > 0 && milliseconds < kMaxSeconds)) {
    return tl::unexpected(missing);
  }
  return milliseconds;
}

Result<double> read_google_benchmark(std::string_view json, const std::string& program) {
  TERN_ASSIGN_OR_RETURN(const Json report, parse_json(json, program));
  const auto benchmarks = report.find("benchmarks");
  if (benchmarks == report.end() || !benchmarks->is_array() || benchmarks->size() != 1 ||
      !(*benchmarks)[0].is_object()) {
    return invalid_input(program, "its report does not hold exactly one benchmark");
  }
  const Json& result = (*benchmarks)[0];
  TERN_ASSIGN_OR_RETURN(const std::string unit, json_string(result, "time_unit", program));
  TERN_ASSIGN_OR_RETURN(const double time, positive_number(result, "real_time", program));
  const std::map<std::string, double> milliseconds = {{"ns", 1e-6}, {"us", 1e-3}, {"ms", 1}, {"s", 1e3}};
  const auto factor = milliseconds.find(unit);
  if (factor == milliseconds.end()) {
    return invalid_input(program, "its report has the time unit '" + printable(unit, 20) + "'");
  }
  return time * factor->second;
}

Result<ContractTiming> read_contract_result(std::string_view json, const std::string& where) {
  TERN_ASSIGN_OR_RETURN(const Json result, parse_json(json, where));
  if (!result.is_object() || !result.contains("timing") || !result["timing"].is_object()) {
    return invalid_input(where, "has no timing");
  }
  ContractTiming timing;
  TERN_ASSIGN_OR_RETURN(const auto prompt, json_token_ids(result, "prompt_tokens", where));
  TERN_ASSIGN_OR_RETURN(const auto generated, json_token_ids(result, "generated_tokens", where));
  timing.n_prompt = static_cast<int64_t>(prompt.size());
  timing.n_generated = static_cast<int64_t>(generated.size());
  TERN_ASSIGN_OR_RETURN(timing.prefill_s, positive_number(result["timing"], "prefill_s", where));
  TERN_ASSIGN_OR_RETURN(timing.decode_s, positive_number(result["timing"], "decode_s", where));
  return timing;
}

}  // namespace tern::bench
