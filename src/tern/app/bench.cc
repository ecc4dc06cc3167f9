#include "tern/app/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <thread>
#include <vector>

#include "tern/base/environment.h"
#include "tern/base/file.h"
#include "tern/base/median.h"
#include "tern/base/stopwatch.h"
#include "tern/kernels/dispatch.h"
#include "tern/sweep/environment.h"

namespace tern::app {
namespace {

struct Rounds {
  double load_s = 0;
  double head_copy_s = 0;
  std::vector<double> prefill_tokens_per_s;
  std::vector<double> decode_tokens_per_s;
};

// Speed does not depend on the ids, but an untrained model could run into NaN on one id alone: any will do.
std::vector<int32_t> random_ids(int n, int64_t n_vocab) {
  std::vector<int32_t> ids(static_cast<size_t>(n));
  uint32_t state = 42;
  for (int32_t& id : ids) {
    state = state * 1664525 + 1013904223;  // Numerical Recipes' generator; its high bits are the better ones
    id = static_cast<int32_t>((uint64_t{state} * static_cast<uint64_t>(n_vocab)) >> 32);
  }
  return ids;
}

// The most memory that this process has had, from the kernel's own account.
Result<uint64_t> peak_rss_bytes() {
  TERN_ASSIGN_OR_RETURN(const std::string status, read_file("/proc/self/status", uint64_t{1} << 20));
  const size_t at = status.find("VmHWM:");
  if (at == std::string::npos) {
    return fail(ErrorCode::kIo, "/proc/self/status", "has no VmHWM");
  }
  return std::strtoull(status.c_str() + at + 6, nullptr, 10) * 1024;
}

Result<Rounds> measure(const BenchOptions& options, int n_threads) {
  Rounds rounds;
  TERN_ASSIGN_OR_RETURN(const kernels::KernelTable* table, kernels::choose_table());
  const Stopwatch stopwatch;
  TERN_ASSIGN_OR_RETURN(const gguf::View view, gguf::View::open(options.model));
  TERN_ASSIGN_OR_RETURN(
      const auto session,
      engine::Session::create(view, {.table = table, .n_threads = n_threads, .head_copy = options.head_copy}));
  rounds.load_s = stopwatch.seconds();

  const bool own_depth = options.depth != 0 && options.depth != options.n_prompt;
  const int64_t n_vocab = session->hyperparameters().n_vocab;
  const auto prompt = random_ids(options.n_prompt, n_vocab);
  const auto context = random_ids(own_depth ? options.depth : options.n_prompt, n_vocab);
  const engine::GenerationRequest both{.prompt = prompt, .max_tokens = options.n_decode + 1};
  // One unmeasured round first: it reads the file into memory, and copies the head.
  TERN_ASSIGN_OR_RETURN(engine::Generation generation, session->generate(both));
  rounds.head_copy_s = generation.head_copy_s;
  for (int round = 0; round < options.n_repetitions; ++round) {
    if (own_depth) {
      TERN_ASSIGN_OR_RETURN(generation, session->generate({.prompt = prompt, .max_tokens = 1}));
      rounds.prefill_tokens_per_s.push_back(options.n_prompt / generation.prefill_s);
    }
    TERN_ASSIGN_OR_RETURN(generation, session->generate({.prompt = context, .max_tokens = options.n_decode + 1}));
    if (!own_depth) {
      rounds.prefill_tokens_per_s.push_back(options.n_prompt / generation.prefill_s);
    }
    rounds.decode_tokens_per_s.push_back(options.n_decode / generation.decode_s);
  }
  return rounds;
}

}  // namespace

Result<BenchFigures> bench(const BenchOptions& options) {
  const char* const option = options.threads.empty() ? nullptr : options.threads.c_str();
  const char* const variable = environment_variable("RAYON_NUM_THREADS");
  BenchFigures figures{.n_threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency())),
                       .n_prompt = options.n_prompt,
                       .n_decode = options.n_decode,
                       .depth = options.depth != 0 ? options.depth : options.n_prompt,
                       .n_repetitions = options.n_repetitions};
  if (option != nullptr || variable != nullptr) {
    TERN_ASSIGN_OR_RETURN(figures.n_threads, sweep::thread_count(option, variable));
  }
  TERN_ASSIGN_OR_RETURN(const Rounds rounds, measure(options, figures.n_threads));
  figures.prefill_tokens_per_s = median(rounds.prefill_tokens_per_s);
  figures.decode_tokens_per_s = median(rounds.decode_tokens_per_s);
  figures.load_s = rounds.load_s;
  figures.head_copy_s = rounds.head_copy_s;
  TERN_ASSIGN_OR_RETURN(figures.peak_rss_bytes, peak_rss_bytes());
  return figures;
}

std::string bench_text(const BenchFigures& figures) {
  return fmt::format(
      "{} threads: prefill of {} tokens {:.1f} tokens/s, decode of {} after {} {:.2f} tokens/s, loaded in {:.3f} s, "
      "head copied in {:.3f} s, {:.0f} MiB at most\n",
      figures.n_threads, figures.n_prompt, figures.prefill_tokens_per_s, figures.n_decode, figures.depth,
      figures.decode_tokens_per_s, figures.load_s, figures.head_copy_s,
      static_cast<double>(figures.peak_rss_bytes) / (1 << 20));
}

Json to_json(const BenchFigures& figures) {
  Json json;
  json["prefill"] = {{"n", figures.n_prompt}, {"tokens_per_s", json_number(figures.prefill_tokens_per_s)}};
  json["decode"] = {
      {"n", figures.n_decode}, {"tokens_per_s", json_number(figures.decode_tokens_per_s)}, {"depth", figures.depth}};
  json["load_s"] = json_number(figures.load_s);
  json["head_copy_s"] = json_number(figures.head_copy_s);
  json["peak_rss_bytes"] = figures.peak_rss_bytes;
  json["threads"] = figures.n_threads;
  json["repetitions"] = figures.n_repetitions;
  return json;
}

}  // namespace tern::app
