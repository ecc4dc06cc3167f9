#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "tern/base/environment.h"
#include "tern/base/file.h"
#include "tern/base/json.h"
#include "tern/base/json_format.h"
#include "tern/base/median.h"
#include "tern/base/stopwatch.h"
#include "tern/cli/command.h"
#include "tern/cli/options.h"
#include "tern/engine/session.h"
#include "tern/kernels/dispatch.h"
#include "tern/sweep/environment.h"

namespace tern::cli {
namespace {

struct BenchOptions {
  std::string model;
  std::string threads;
  int n_prompt = 128;
  int n_decode = 32;
  int depth = 0;  // positions before the first decode step; 0: the prompt
  int n_repetitions = 3;
  engine::HeadCopy head_copy = engine::HeadCopy::kAlways;  // in the unmeasured round
  bool json = false;
};

struct Figures {
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

Result<Figures> measure(const BenchOptions& options, int n_threads) {
  Figures figures;
  TERN_ASSIGN_OR_RETURN(const kernels::KernelTable* table, kernels::choose_table());
  const Stopwatch stopwatch;
  TERN_ASSIGN_OR_RETURN(const gguf::View view, gguf::View::open(options.model));
  TERN_ASSIGN_OR_RETURN(
      const auto session,
      engine::Session::create(view, {.table = table, .n_threads = n_threads, .head_copy = options.head_copy}));
  figures.load_s = stopwatch.seconds();

  const bool own_depth = options.depth != 0 && options.depth != options.n_prompt;
  const int64_t n_vocab = session->hyperparameters().n_vocab;
  const auto prompt = random_ids(options.n_prompt, n_vocab);
  const auto context = random_ids(own_depth ? options.depth : options.n_prompt, n_vocab);
  const engine::GenerationRequest both{.prompt = prompt, .max_tokens = options.n_decode + 1};
  // One unmeasured round first: it reads the file into memory, and copies the head.
  TERN_ASSIGN_OR_RETURN(engine::Generation generation, session->generate(both));
  figures.head_copy_s = generation.head_copy_s;
  for (int round = 0; round < options.n_repetitions; ++round) {
    if (own_depth) {
      TERN_ASSIGN_OR_RETURN(generation, session->generate({.prompt = prompt, .max_tokens = 1}));
      figures.prefill_tokens_per_s.push_back(options.n_prompt / generation.prefill_s);
    }
    TERN_ASSIGN_OR_RETURN(generation, session->generate({.prompt = context, .max_tokens = options.n_decode + 1}));
    if (!own_depth) {
      figures.prefill_tokens_per_s.push_back(options.n_prompt / generation.prefill_s);
    }
    figures.decode_tokens_per_s.push_back(options.n_decode / generation.decode_s);
  }
  return figures;
}

Result<int> bench(const BenchOptions& options) {
  const char* const option = options.threads.empty() ? nullptr : options.threads.c_str();
  const char* const variable = environment_variable("RAYON_NUM_THREADS");
  int n_threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  if (option != nullptr || variable != nullptr) {
    TERN_ASSIGN_OR_RETURN(n_threads, sweep::thread_count(option, variable));
  }
  TERN_ASSIGN_OR_RETURN(const Figures figures, measure(options, n_threads));
  TERN_ASSIGN_OR_RETURN(const uint64_t peak_bytes, peak_rss_bytes());
  const double prefill = median(figures.prefill_tokens_per_s);
  const double decode = median(figures.decode_tokens_per_s);
  const int depth = options.depth != 0 ? options.depth : options.n_prompt;
  if (!options.json) {
    fmt::print(
        "{} threads: prefill of {} tokens {:.1f} tokens/s, decode of {} after {} {:.2f} tokens/s, loaded in {:.3f} s, "
        "head copied in {:.3f} s, {:.0f} MiB at most\n",
        n_threads, options.n_prompt, prefill, options.n_decode, depth, decode, figures.load_s, figures.head_copy_s,
        static_cast<double>(peak_bytes) / (1 << 20));
    return 0;
  }
  Json json;
  json["prefill"] = {{"n", options.n_prompt}, {"tokens_per_s", json_number(prefill)}};
  json["decode"] = {{"n", options.n_decode}, {"tokens_per_s", json_number(decode)}, {"depth", depth}};
  json["load_s"] = json_number(figures.load_s);
  json["head_copy_s"] = json_number(figures.head_copy_s);
  json["peak_rss_bytes"] = peak_bytes;
  json["threads"] = n_threads;
  json["repetitions"] = options.n_repetitions;
  fmt::print("{}\n", to_json_line(with_format(Document::kCommand, json)));
  return 0;
}

}  // namespace

void add_bench(Command& app, Action& action) {
  const auto options = std::make_shared<BenchOptions>();
  Command* command = app.add_subcommand("bench", "Measure prefill and decode speed (medians) and memory");
  command->add_option("--model", options->model, "The GGUF file")->required();
  command->add_option("--threads", options->threads, "Threads; default: RAYON_NUM_THREADS, or one for each core");
  command->add_option("-p", options->n_prompt, "Prompt tokens, seeded random ids")
      ->check(in_range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("-n", options->n_decode, "Tokens to decode")->check(in_range(1, 1 << 20))->capture_default_str();
  command
      ->add_option("--depth", options->depth,
                   "Positions that are in the context before the tokens to decode; default: those of the prompt")
      ->check(in_range(1, 1 << 20));
  command->add_option("-r", options->n_repetitions, "Repetitions, after one that is not counted")
      ->check(in_range(1, 1000))
      ->capture_default_str();
  add_head_copy_option(*command, options->head_copy);
  command->add_flag("--json", options->json, "Print one JSON object");
  command->footer(
      "Example: tern bench --model /tmp/2b4t.gguf --threads 2 -p 64 -n 16 -r 3 --json\n"
      "         tern bench --model /tmp/2b4t.gguf --threads 2 -p 64 -n 16 --depth 2048   (decode in a long context)");
  command->callback([options, &action] { action = [options] { return bench(*options); }; });
}

}  // namespace tern::cli
