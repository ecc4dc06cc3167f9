#include "tern/cli/oracle_engine.h"

#include <algorithm>
#include <chrono>

#include "tern/oracle/oracle.h"

namespace tern::cli {
namespace {

// One call of the oracle; hands the logits of all its positions on and returns those of the last.
Result<std::vector<float>> evaluate(oracle::Oracle& oracle, std::span<const int32_t> tokens, int seq, int ubatch,
                                    const engine::GenerationRequest& request) {
  if (request.interrupt != nullptr && request.interrupt->signal() != 0) {
    return fail(ErrorCode::kEngine, "generation", "interrupted");
  }
  TERN_ASSIGN_OR_RETURN(const std::vector<double> logits, oracle.evaluate(tokens, seq, ubatch, request.recorder));
  std::vector<float> rows(logits.begin(), logits.end());
  if (request.on_logits) {
    TERN_RETURN_IF_ERROR(request.on_logits(rows));
  }
  rows.erase(rows.begin(), rows.end() - oracle.hyperparameters().n_vocab);
  return rows;
}

}  // namespace

Result<engine::Generation> generate_with_oracle(const gguf::View& view, int64_t ubatch,
                                                const engine::GenerationRequest& request) {
  using Clock = std::chrono::steady_clock;
  const auto seconds_since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  TERN_ASSIGN_OR_RETURN(oracle::Oracle oracle, oracle::Oracle::load(view));
  engine::Sampler sampler(request.sampling);
  engine::Generation generation;
  std::vector<float> last;
  auto start = Clock::now();
  const auto piece = static_cast<size_t>(ubatch);
  for (size_t begin = 0; begin < request.prompt.size(); begin += piece) {
    const auto tokens = request.prompt.subspan(begin, std::min(piece, request.prompt.size() - begin));
    TERN_ASSIGN_OR_RETURN(last, evaluate(oracle, tokens, 0, static_cast<int>(begin / piece), request));
  }
  for (int step = 1;; ++step) {
    TERN_ASSIGN_OR_RETURN(const int32_t id, sampler.next(last));
    if (step == 1) {
      generation.prefill_s = seconds_since(start);
      start = Clock::now();
    }
    generation.tokens.push_back(id);
    generation.ended = std::find(request.end_ids.begin(), request.end_ids.end(), id) != request.end_ids.end();
    if (generation.ended || step == request.max_tokens) {
      break;
    }
    TERN_ASSIGN_OR_RETURN(last, evaluate(oracle, std::span(&id, 1), step, 0, request));
  }
  generation.decode_s = seconds_since(start);
  return generation;
}

}  // namespace tern::cli
