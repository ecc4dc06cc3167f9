// How fast tern's engine is on a model, and how much memory it takes.
#pragma once

#include <cstdint>
#include <string>

#include "tern/base/error.h"
#include "tern/base/json.h"
#include "tern/engine/session.h"

namespace tern::app {

struct BenchOptions {
  std::string model;
  std::string threads;  // empty: RAYON_NUM_THREADS, else one for each core
  int n_prompt = 128;
  int n_decode = 32;
  int depth = 0;  // positions before the first decode step; 0: the prompt
  int n_repetitions = 3;
  engine::HeadCopy head_copy = engine::HeadCopy::kAlways;  // in the unmeasured round
};

struct BenchFigures {
  int n_threads = 0;
  int n_prompt = 0, n_decode = 0, depth = 0, n_repetitions = 0;
  double prefill_tokens_per_s = 0, decode_tokens_per_s = 0;  // medians
  double load_s = 0, head_copy_s = 0;
  uint64_t peak_rss_bytes = 0;  // of this process, since it started
};

// One round that is not counted, then n_repetitions. Errors: those of engine::Session; kUsage for a thread count.
Result<BenchFigures> bench(const BenchOptions& options);

std::string bench_text(const BenchFigures& figures);
Json to_json(const BenchFigures& figures);

}  // namespace tern::app
