#include "tern/app/oracle_engine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>

#include "tern/app/build_facts.h"
#include "tern/base/check.h"
#include "tern/base/stopwatch.h"
#include "tern/oracle/faults.h"
#include "tern/oracle/float32.h"
#include "tern/oracle/oracle.h"

namespace tern::app {
namespace {

// One call of the oracle; hands the logits of all its positions on and returns those of the last.
Result<std::vector<float>> evaluate(oracle::Oracle& oracle, std::span<const int32_t> tokens, int seq, int ubatch,
                                    const engine::GenerationRequest& request) {
  if (request.interrupt != nullptr && request.interrupt->signal() != 0) {
    return fail(ErrorCode::kEngine, "generation", "interrupted");
  }
  TERN_ASSIGN_OR_RETURN(const std::vector<double> logits, oracle.evaluate(tokens, seq, ubatch, request.recorder));
  std::vector<float> rows(logits.begin(), logits.end());
  if (rows.empty()) {
    return rows;
  }
  if (request.on_logits) {
    TERN_RETURN_IF_ERROR(request.on_logits(rows));
  }
  rows.erase(rows.begin(), rows.end() - oracle.hyperparameters().n_vocab);
  return rows;
}

Result<std::unique_ptr<oracle::Oracle>> make_oracle(const gguf::View& view, const OracleOptions& options,
                                                    const trace::Inputs* inputs) {
  oracle::Settings settings;
  settings.significant_bits = options.significant_bits;
  settings.inputs = inputs;
  settings.around = options.around;
  settings.n_threads = options.fault.empty() ? options.n_threads : 1;  // faults may keep what they have read
  TERN_ASSIGN_OR_RETURN(oracle::Oracle plain, oracle::Oracle::load(view, settings));
  for (const oracle::Float32Rules& rules : oracle::kFloat32Evaluations) {
    if (rules.name == options.arithmetic) {
      return std::make_unique<oracle::Float32>(plain, rules);
    }
  }
  if (options.fault.empty()) {
    return std::make_unique<oracle::Oracle>(std::move(plain));
  }
  TERN_ASSIGN_OR_RETURN(const oracle::ChosenFault chosen, oracle::parse_fault(options.fault));
  return chosen.fault->make(plain, {options.n_threads, chosen.value});
}

}  // namespace

Result<engine::Generation> generate_with_oracle(const gguf::View& view, const OracleOptions& options,
                                                const engine::GenerationRequest& request) {
  TERN_ASSIGN_OR_RETURN(const std::unique_ptr<oracle::Oracle> oracle, make_oracle(view, options, request.inputs));
  return generate_with(*oracle, options.ubatch, request);
}

Result<engine::Generation> generate_with(oracle::Oracle& oracle, int64_t ubatch,
                                         const engine::GenerationRequest& request) {
  engine::Sampler sampler(request.sampling);
  engine::Generation generation;
  std::vector<float> last;
  Stopwatch stopwatch;
  const auto piece = static_cast<size_t>(ubatch);
  for (size_t begin = 0; begin < request.prompt.size(); begin += piece) {
    const auto tokens = request.prompt.subspan(begin, std::min(piece, request.prompt.size() - begin));
    TERN_ASSIGN_OR_RETURN(last, evaluate(oracle, tokens, 0, static_cast<int>(begin / piece), request));
  }
  for (int step = 1;; ++step) {
    int32_t id = engine::fed(request, 0, step);
    if (!last.empty()) {
      TERN_ASSIGN_OR_RETURN(id, sampler.next(last));
    }
    if (step == 1) {
      generation.prefill_s = stopwatch.seconds();
      stopwatch = Stopwatch();
    }
    generation.tokens.push_back(id);
    generation.ended = engine::ends(request, id);
    if (generation.ended || step == request.max_tokens) {
      break;
    }
    const int32_t next = engine::fed(request, id, step);
    TERN_ASSIGN_OR_RETURN(last, evaluate(oracle, std::span(&next, 1), step, 0, request));
  }
  generation.decode_s = stopwatch.seconds();
  return generation;
}

std::string oracle_engine_name(const OracleOptions& options) {
  std::string name = fmt::format("tern oracle {}", version());
  if (options.significant_bits > 0) {
    name += fmt::format(" ({} significant bits)", options.significant_bits);
  }
  if (!options.fault.empty()) {
    return name + " with the fault " + options.fault;
  }
  return options.significant_bits > 0 ? name : fmt::format("{} ({})", name, options.arithmetic);
}

std::vector<std::string> oracle_arithmetics() {
  std::vector<std::string> names = {"double"};
  for (const oracle::Float32Rules& rules : oracle::kFloat32Evaluations) {
    names.emplace_back(rules.name);
  }
  return names;
}

std::string fault_help() {
  std::string text = "Faults for --engine oracle --fault NAME:";
  for (const oracle::Fault& fault : oracle::known_faults()) {
    text += fmt::format("\n  {:<27}{}", fault.name, fault.does);
    if (!fault.values.empty()) {
      text += fmt::format(": {0}=NUMBER; {0} alone takes the first of {1} that is not the model's", fault.name,
                          fmt::join(fault.values, ", "));
    }
  }
  return text;
}

}  // namespace tern::app
