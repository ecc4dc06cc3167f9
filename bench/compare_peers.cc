// compare_peers: tern and other engines timed in turn on this machine, with the peers' own benchmark programs, and what
// follows for the goals that docs/performance.md names. Markdown on stdout, progress on stderr, everything in --json.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>
#include <thread>

#include "benched_engine.h"
#include "comparison.h"
#include "peer_report.h"
#include "program_output.h"
#include "tern/base/file.h"
#include "tern/base/interrupt.h"
#include "tern/base/scratch_folder.h"
#include "tern/base/stopwatch.h"
#include "tern/kernels/dispatch.h"
#include "tern/peer/command_template.h"
#include "tern/sweep/environment.h"
#include "tern/sweep/scenarios.h"

namespace tern::bench {
namespace {
namespace fs = std::filesystem;

constexpr int kInputError = 3;

struct Options {
  std::string tern;
  std::string model;
  std::vector<std::string> peers;
  std::vector<std::string> contract_peers;
  std::vector<std::string> peer_models;
  std::string kernels;
  std::string gemm;
  std::string pack;
  std::vector<int> threads = {1, 2, 4};
  int runs = 5;
  double timeout_s = 600;
  bool no_tracing = false;
  std::string json;
  Workload workload;
};

Result<double> file_bytes(const std::string& path) {
  std::error_code error;
  const auto n_bytes = fs::file_size(path, error);
  if (error) return fail(ErrorCode::kIo, printable(path), "cannot be read: " + error.message());
  return static_cast<double>(n_bytes);
}

class Peers {
 public:
  Peers(const Options& options, const Interrupt& interrupt) : options_(options), interrupt_(interrupt) {}

  Status open() {
    const int n_cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    for (const int threads : options_.threads) {
      if (threads <= n_cores) result_.threads = std::max(result_.threads, threads);
      if (threads > n_cores) result_.more_threads = std::max(result_.more_threads, threads);
    }
    if (result_.threads == 0) {
      return fail(ErrorCode::kUsage, "--threads", fmt::format("one has to be at most {}, the cores here", n_cores));
    }
    result_.workload = options_.workload;
    result_.runs = options_.runs;
    const auto environment = sweep::describe_environment(result_.threads, options_.timeout_s);
    for (const char* key : {"cpu", "logical_cpus", "os", "compiler"}) {
      if (environment.contains(key)) result_.machine[key] = environment.at(key);
    }
    for (const std::string& assignment : options_.peer_models) {
      TERN_ASSIGN_OR_RETURN(auto model, split_assignment(assignment, "--peer-model"));
      models_.insert_or_assign(model.first, model.second);
    }
    // Entries point into it.
    result_.peers.reserve(options_.peers.size() + options_.contract_peers.size());
    TERN_RETURN_IF_ERROR(add("tern", {options_.tern}, options_.model, tern_engine, result_.ours));
    for (const std::string& text : options_.peers) {
      TERN_RETURN_IF_ERROR(add_peer(text, "--peer", llama_bench_engine));
    }
    for (const std::string& text : options_.contract_peers) {
      TERN_RETURN_IF_ERROR(add_peer(text, "--contract-peer", contract_engine));
    }
    for (const auto& [name, model] : models_) {
      if (!names_.contains(name)) {
        return fail(ErrorCode::kUsage, "--peer-model", "there is no peer '" + printable(name) + "'");
      }
    }
    return open_products();
  }

  Status measure() {
    for (int run = 0; run < options_.runs; ++run) {
      for (const int threads : options_.threads) {
        TERN_RETURN_IF_ERROR(each_in_turn(run, fmt::format("speed, {} threads", threads),
                                          [&](Entry& entry) { return measure_speed(entry, threads); }));
      }
      TERN_RETURN_IF_ERROR(
          each_in_turn(run, "load to first token", [&](Entry& entry) { return measure_first_token(entry); }));
      if (options_.workload.depth > 0) {
        TERN_RETURN_IF_ERROR(each_in_turn(run, fmt::format("decode after {} positions", options_.workload.depth),
                                          [&](Entry& entry) { return measure_deep_decode(entry); }));
      }
      for (ProductFigures& product : result_.products) {
        TERN_RETURN_IF_ERROR(measure_product(run, product));
      }
      if (!options_.no_tracing) {
        TERN_RETURN_IF_ERROR(measure_tracing(run));
      }
      if (!options_.pack.empty()) {
        TERN_RETURN_IF_ERROR(measure_sweep(run));
      }
    }
    return {};
  }

  const Comparison& result() const { return result_; }

 private:
  struct Entry {
    std::unique_ptr<BenchedEngine> engine;
    EngineFigures* figures;
  };
  using MakeEngine = std::unique_ptr<BenchedEngine> (*)(EngineSetting);

  EngineSetting setting(const std::string& name, std::vector<std::string> command, const std::string& model) const {
    return {name, std::move(command), model, options_.timeout_s, &interrupt_};
  }

  Status add(const std::string& name, std::vector<std::string> command, const std::string& model, MakeEngine make,
             EngineFigures& figures) {
    figures.name = name;
    figures.command = fmt::format("{}", fmt::join(command, " "));
    figures.model = model;
    TERN_ASSIGN_OR_RETURN(figures.model_bytes, file_bytes(model));
    entries_.push_back({make(setting(name, std::move(command), model)), &figures});
    return entries_.back().engine->prepare();
  }

  Status add_peer(const std::string& text, const std::string& option, MakeEngine make) {
    TERN_ASSIGN_OR_RETURN(const auto peer, split_assignment(text, option));
    TERN_ASSIGN_OR_RETURN(const auto command, peer::split_command(peer.second, option));
    const auto own = models_.find(peer.first);
    if (!names_.insert(peer.first).second) {
      return fail(ErrorCode::kUsage, option, "there are two peers '" + printable(peer.first) + "'");
    }
    return add(peer.first, command, own != models_.end() ? own->second : options_.model, make,
               result_.peers.emplace_back());
  }

  Status open_products() {
    TERN_ASSIGN_OR_RETURN(const kernels::KernelTable* table, kernels::choose_table());
    result_.machine["kernels"] = table->name;
    if (options_.kernels.empty()) return {};
    for (const ProductSize& size : published_sizes()) result_.products.push_back({size, {}, {}});
    TERN_RETURN_IF_ERROR(run_program(setting("kernels_bench", {options_.kernels}, ""), {"--help"}));
    if (options_.gemm.empty()) return {};
    TERN_ASSIGN_OR_RETURN(gemm_command_, peer::split_command(options_.gemm, "--gemm"));
    return run_program(setting("--gemm", gemm_command_, ""), {"-h"}).map([](const ProgramRun&) {});
  }

  void say(int run, const std::string& what) const {
    std::fprintf(stderr, "[run %d of %d, %5.0f s] %s\n", run + 1, options_.runs, stopwatch_.seconds(), what.c_str());
  }

  // Whoever comes first in one run comes last in the next: what a machine does to the first one hits each in turn.
  template <class Measure>
  Status each_in_turn(int run, const std::string& what, const Measure& measure) {
    for (size_t i = 0; i < entries_.size(); ++i) {
      Entry& entry = entries_[(i + static_cast<size_t>(run)) % entries_.size()];
      TERN_ASSIGN_OR_RETURN(const std::string figure, measure(entry));
      say(run, printable(entry.figures->name) + ": " + what + ": " + figure);
    }
    return {};
  }

  Result<std::string> measure_speed(Entry& entry, int threads) {
    if (threads > result_.threads && entry.figures != &result_.ours) {
      return std::string("left out, see --threads");
    }
    TERN_ASSIGN_OR_RETURN(const Speed speed, entry.engine->speed(options_.workload, threads));
    entry.figures->prefill_tokens_per_s[threads].push_back(speed.prefill_tokens_per_s);
    entry.figures->decode_tokens_per_s[threads].push_back(speed.decode_tokens_per_s);
    if (threads == result_.threads) {
      entry.figures->peak_rss_bytes.push_back(speed.peak_rss_bytes);
      if (entry.figures == &result_.ours) result_.head_copy_s.push_back(speed.head_copy_s);
    }
    return fmt::format("prefill {:.1f}, decode {:.2f} tokens/s, {:.0f} MiB", speed.prefill_tokens_per_s,
                       speed.decode_tokens_per_s, speed.peak_rss_bytes / (1 << 20));
  }

  Result<std::string> measure_first_token(Entry& entry) {
    TERN_ASSIGN_OR_RETURN(const double seconds, entry.engine->first_token_s(result_.threads));
    entry.figures->first_token_s.push_back(seconds);
    return fmt::format("{:.3f} s", seconds);
  }

  Result<std::string> measure_deep_decode(Entry& entry) {
    TERN_ASSIGN_OR_RETURN(const auto speed, entry.engine->deep_decode(options_.workload, result_.threads));
    if (!speed) return std::string("not measured: neither an option for it nor llama-batched-bench beside it");
    entry.figures->deep_decode_tokens_per_s.push_back(*speed);
    return fmt::format("{:.2f} tokens/s", *speed);
  }

  Status measure_product(int run, ProductFigures& product) {
    const ProductSize& size = product.size;
    TERN_ASSIGN_OR_RETURN(const ScratchFolder folder, ScratchFolder::in_temporary_folder());
    const std::string report = folder.path() / "report.json";
    TERN_RETURN_IF_ERROR(
        run_program(setting("kernels_bench", {options_.kernels}, ""),
                    {fmt::format("--benchmark_filter=^ternary_product/{}/{}x{}x{}/real_time$",
                                 result_.machine["kernels"], size.rows, size.cols, size.tokens),
                     "--benchmark_min_time=0.3", "--benchmark_out=" + report, "--benchmark_out_format=json"}));
    TERN_ASSIGN_OR_RETURN(const std::string json, read_file(report, uint64_t{1} << 20));
    TERN_ASSIGN_OR_RETURN(const double ours, read_google_benchmark(json, "kernels_bench"));
    product.ours_ms.push_back(ours);
    std::string figures = fmt::format("{:.3f} ms", ours);
    if (!gemm_command_.empty()) {
      const int iterations = std::clamp(static_cast<int>(300 / size.published_ms), 5, 2000);
      TERN_ASSIGN_OR_RETURN(const ProgramRun theirs,
                            run_program(setting("--gemm", gemm_command_, ""),
                                        {"-n", std::to_string(size.cols), "-r", std::to_string(size.tokens), "-c",
                                         std::to_string(size.rows), "-i", std::to_string(iterations), "-w",
                                         std::to_string(std::max(1, iterations / 10))}));
      TERN_ASSIGN_OR_RETURN(const double ms, read_gemm_program(theirs.output, "--gemm"));
      product.peer_ms.push_back(ms);
      figures += fmt::format(", the peer {:.3f} ms", ms);
    }
    say(run, "product " + size.text() + ": " + figures);
    return {};
  }

  Status measure_tracing(int run) {
    double seconds[2] = {0, 0};
    for (const outcome::Scenario& scenario : sweep::builtin_scenarios()) {
      for (const bool traced : {run % 2 == 0, run % 2 != 0}) {
        TERN_ASSIGN_OR_RETURN(const ScratchFolder folder, ScratchFolder::in_temporary_folder());
        std::vector<std::string> arguments = {"run",
                                              "--model",
                                              options_.model,
                                              "--prompt",
                                              scenario.prompt,
                                              "--max-tokens",
                                              std::to_string(scenario.max_tokens),
                                              "--ignore-eos",
                                              "--threads",
                                              std::to_string(result_.threads),
                                              "--out",
                                              folder.path() / "run"};
        if (!traced) arguments.push_back("--no-observe");
        TERN_ASSIGN_OR_RETURN(const ProgramRun done, run_program(entries_[0].engine->setting(), arguments));
        seconds[traced ? 1 : 0] += done.wall_s;
      }
    }
    result_.untraced_s.push_back(seconds[0]);
    result_.traced_s.push_back(seconds[1]);
    say(run, fmt::format("three scenarios: {:.2f} s traced, {:.2f} s not traced", seconds[1], seconds[0]));
    return {};
  }

  Status measure_sweep(int run) {
    TERN_ASSIGN_OR_RETURN(const ScratchFolder folder, ScratchFolder::in_temporary_folder());
    TERN_ASSIGN_OR_RETURN(
        const ProgramRun done,
        run_program(entries_[0].engine->setting(), {"sweep", options_.model, options_.model, folder.path() / "results",
                                                    "--reference", "pack:" + options_.pack}));
    result_.sweep_s.push_back(done.wall_s);
    say(run, fmt::format("sweep against the pack: {:.1f} s", done.wall_s));
    return {};
  }

  const Options& options_;
  const Interrupt& interrupt_;
  const Stopwatch stopwatch_;
  std::map<std::string, std::string> models_;
  std::set<std::string> names_;
  std::vector<Entry> entries_;  // ours first
  std::vector<std::string> gemm_command_;
  Comparison result_;
};

void add_options(CLI::App& app, Options& options) {
  app.add_option("--model", options.model, "The GGUF file that tern runs, and every peer without --peer-model")
      ->required();
  app.add_option("--tern", options.tern, "tern's binary; default: beside this program");
  app.add_option("--peer", options.peers,
                 "NAME=COMMAND: llama-bench of bitnet.cpp, llama.cpp or a relative, with options that it always gets. "
                 "The first one is whom most goals are about");
  app.add_option("--contract-peer", options.contract_peers,
                 "NAME=COMMAND: an engine that writes the engine contract's result.json, with timing");
  app.add_option("--peer-model", options.peer_models, "NAME=FILE: another GGUF file for that peer");
  CLI::Option* const kernels =
      app.add_option("--kernels", options.kernels, "kernels_bench: also time products of matrices on one thread");
  app.add_option("--gemm", options.gemm,
                 "The program that bitnet.cpp's utils/test_gemm_kernel.sh compiles, to time them beside --kernels")
      ->needs(kernels);
  app.add_option("--pack", options.pack, "A pack of the model's three scenarios: also time the sweep against it");
  app.add_option(
         "--threads", options.threads,
         "Thread counts to measure with; more than cores with tern alone: threads of others that spin while they "
         "wait can take minutes then")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--runs", options.runs, "How often everything is measured")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  app.add_option("--repetitions", options.workload.repetitions, "Repetitions within a program; their median counts")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  app.add_option("--prompt-tokens", options.workload.n_prompt, "Tokens of a prefill")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  app.add_option("--decode-tokens", options.workload.n_decode, "Tokens to decode")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  app.add_option("--depth", options.workload.depth, "Positions before the decode in a long context; 0: do without")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  app.add_flag("--no-tracing", options.no_tracing, "Do without what tracing costs");
  app.add_option("--timeout", options.timeout_s, "Seconds for each program")
      ->check(CLI::Range(1.0, 1e6))
      ->capture_default_str();
  app.add_option("--json", options.json, "Also write everything to this file");
  app.footer(
      "Example, with bitnet.cpp and ik_llama.cpp built beside the project:\n"
      "  bin/tern synth --preset 2b4t /tmp/2b4t.gguf\n"
      "  bin/compare_peers --model /tmp/2b4t.gguf --kernels bin/kernels_bench --json /tmp/peers.json \\\n"
      "    --peer bitnet.cpp=$HOME/bitnet.cpp/build/bin/llama-bench --gemm $HOME/bitnet.cpp/build/test_gemm_kernel \\\n"
      "    --peer ik_llama.cpp=$HOME/ik_llama.cpp/build/bin/llama-bench --peer-model "
      "ik_llama.cpp=/tmp/2b4t-iq2_bn.gguf\n"
      "A COMMAND is split at blanks, as a shell does: --peer \"NAME=env LD_LIBRARY_PATH=/lib/of/it "
      "/path/llama-bench\".\n"
      "Decode in a long context takes llama-bench's -d or -gp, or else llama-batched-bench beside it.\n"
      "Load to first token is the wall time of a process that evaluates one token; llama-bench warms up with one "
      "more,\n"
      "which is subtracted. Exit codes: 0 measured, whatever came out; 2 usage; 3 a program or file cannot be used.");
}

Status compare(Options options) {
  if (options.tern.empty()) {
    std::error_code error;
    options.tern = fs::read_symlink("/proc/self/exe", error).parent_path() / "tern";
  }
  const std::set<int> threads(options.threads.begin(), options.threads.end());  // each once, in order
  options.threads.assign(threads.begin(), threads.end());
  const Interrupt interrupt;
  Peers peers(options, interrupt);
  TERN_RETURN_IF_ERROR(peers.open());
  TERN_RETURN_IF_ERROR(peers.measure());
  fmt::print("{}", markdown(peers.result()));
  return options.json.empty() ? Status() : write_file(options.json, to_json_text(to_json(peers.result())));
}

}  // namespace
}  // namespace tern::bench

int main(int argc, char** argv) {
  tern::bench::Options options;
  CLI::App app{"Time tern and other engines in turn on this machine", "compare_peers"};
  tern::bench::add_options(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : tern::exit_code(tern::ErrorCode::kUsage);
  }
  const tern::Status status = tern::bench::compare(std::move(options));
  if (!status) {
    std::fprintf(stderr, "compare_peers: error: %s\n", status.error().line().c_str());
    return status.error().code == tern::ErrorCode::kUsage ? 2 : tern::bench::kInputError;
  }
  return 0;
}
