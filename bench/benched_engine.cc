#include "benched_engine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "program_output.h"
#include "tern/base/child_process.h"
#include "tern/base/file.h"
#include "tern/base/scratch_folder.h"

namespace tern::bench {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMaxOutputBytes = uint64_t{16} << 20;

class TernEngine final : public BenchedEngine {
 public:
  using BenchedEngine::BenchedEngine;

  Status prepare() override {
    TERN_RETURN_IF_ERROR(run_program(setting(), {"bench", "--help"}));
    return {};
  }

  Result<Speed> speed(const Workload& workload, int threads) override {
    TERN_ASSIGN_OR_RETURN(const ProgramRun run,
                          bench(workload.n_prompt, workload.n_decode, 1, workload.repetitions, threads));
    TERN_ASSIGN_OR_RETURN(const TernBench figures, read_tern_bench(run.output, setting().name));
    return Speed{figures.prefill_tokens_per_s, figures.decode_tokens_per_s, run.peak_rss_bytes, figures.head_copy_s};
  }

  Result<std::optional<double>> deep_decode(const Workload& workload, int threads) override {
    TERN_ASSIGN_OR_RETURN(const ProgramRun run, bench(1, workload.n_decode, workload.depth, 1, threads));
    TERN_ASSIGN_OR_RETURN(const TernBench figures, read_tern_bench(run.output, setting().name));
    return figures.decode_tokens_per_s;
  }

  Result<double> first_token_s(int threads) override {
    TERN_ASSIGN_OR_RETURN(const ProgramRun run,
                          run_program(setting(), {"run", "--model", setting().model, "--prompt", "a", "--max-tokens",
                                                  "1", "--threads", std::to_string(threads)}));
    return run.wall_s;
  }

 private:
  Result<ProgramRun> bench(int n_prompt, int n_decode, int depth, int repetitions, int threads) {
    return run_program(setting(), {"bench", "--model", setting().model, "--threads", std::to_string(threads), "-p",
                                   std::to_string(n_prompt), "-n", std::to_string(n_decode), "--depth",
                                   std::to_string(depth), "-r", std::to_string(repetitions), "--json"});
  }
};

class LlamaBenchEngine final : public BenchedEngine {
 public:
  using BenchedEngine::BenchedEngine;

  Status prepare() override {
    TERN_ASSIGN_OR_RETURN(const ProgramRun help, run_program(setting(), {"--help"}));
    depth_option_ = depth_option_in_help(help.output);
    if (depth_option_ == DepthOption::kNone) {
      find_batched_bench();
    }
    return {};
  }

  Result<Speed> speed(const Workload& workload, int threads) override {
    TERN_ASSIGN_OR_RETURN(const ProgramRun run, bench(workload.n_prompt, workload.n_decode, threads,
                                                      {"-r", std::to_string(workload.repetitions)}));
    TERN_ASSIGN_OR_RETURN(const double prefill_s, seconds(run, workload.n_prompt, 0, 0));
    TERN_ASSIGN_OR_RETURN(const double decode_s, seconds(run, 0, workload.n_decode, 0));
    return Speed{workload.n_prompt / prefill_s, workload.n_decode / decode_s, run.peak_rss_bytes};
  }

  Result<std::optional<double>> deep_decode(const Workload& workload, int threads) override {
    const std::string depth = std::to_string(workload.depth);
    switch (depth_option_) {
      case DepthOption::kDepth: {
        TERN_ASSIGN_OR_RETURN(const ProgramRun run, bench(0, workload.n_decode, threads, {"-r", "1", "-d", depth}));
        TERN_ASSIGN_OR_RETURN(const double decode_s, seconds(run, 0, workload.n_decode, workload.depth));
        return workload.n_decode / decode_s;
      }
      case DepthOption::kPrefilledPair: {
        const std::string pair = depth + "," + std::to_string(workload.n_decode);
        TERN_ASSIGN_OR_RETURN(const ProgramRun run, bench(0, 0, threads, {"-r", "1", "-gp", pair}));
        TERN_ASSIGN_OR_RETURN(const double decode_s, seconds(run, workload.depth, workload.n_decode, 0));
        return workload.n_decode / decode_s;
      }
      case DepthOption::kNone:
        return batched_bench_ ? batched_deep_decode(workload, threads) : std::optional<double>();
    }
    return std::nullopt;
  }

  // llama-bench generates one token before the one that it times, and takes as long for it.
  Result<double> first_token_s(int threads) override {
    TERN_ASSIGN_OR_RETURN(const ProgramRun run, bench(0, 1, threads, {"-r", "1"}));
    TERN_ASSIGN_OR_RETURN(const double second_token_s, seconds(run, 0, 1, 0));
    return run.wall_s - second_token_s;
  }

 private:
  void find_batched_bench() {
    EngineSetting batched = setting();
    for (std::string& word : batched.command) {
      const fs::path path(word);
      if (path.filename() != "llama-bench") continue;
      word = (path.parent_path() / "llama-batched-bench").string();
      if (find_program(word)) batched_bench_ = batched;
      return;
    }
  }

  Result<ProgramRun> bench(int n_prompt, int n_gen, int threads, std::vector<std::string> more) {
    std::vector<std::string> arguments = {"-m", setting().model,
                                          "-p", std::to_string(n_prompt),
                                          "-n", std::to_string(n_gen),
                                          "-t", std::to_string(threads),
                                          "-o", "json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(setting(), arguments);
  }

  Result<double> seconds(const ProgramRun& run, int n_prompt, int n_gen, int n_depth) {
    TERN_ASSIGN_OR_RETURN(const auto tests, read_llama_bench(run.output, setting().name));
    TERN_ASSIGN_OR_RETURN(const LlamaBenchTest test, find_test(tests, n_prompt, n_gen, n_depth, setting().name));
    return test.median_s();
  }

  Result<std::optional<double>> batched_deep_decode(const Workload& workload, int threads) {
    const std::string n_threads = std::to_string(threads);
    TERN_ASSIGN_OR_RETURN(
        const ProgramRun run,
        run_program(*batched_bench_, {"-m", setting().model, "-c", std::to_string(workload.depth + workload.n_decode),
                                      "-npp", std::to_string(workload.depth), "-ntg", std::to_string(workload.n_decode),
                                      "-npl", "1", "-t", n_threads, "-tb", n_threads, "--output-format", "jsonl"}));
    return read_batched_bench(run.output, workload.depth, workload.n_decode, setting().name);
  }

  DepthOption depth_option_ = DepthOption::kNone;
  std::optional<EngineSetting> batched_bench_;
};

class ContractEngine final : public BenchedEngine {
 public:
  using BenchedEngine::BenchedEngine;

  Status prepare() override {
    TERN_RETURN_IF_ERROR(find_program(setting().command.front()));
    return {};
  }

  Result<Speed> speed(const Workload& workload, int threads) override {
    std::vector<double> prefill, decode, memory;
    for (int i = 0; i < workload.repetitions; ++i) {
      TERN_ASSIGN_OR_RETURN(const Timed timed, generate(workload.n_prompt, workload.n_decode + 1, threads));
      prefill.push_back(workload.n_prompt / timed.timing.prefill_s);
      decode.push_back(workload.n_decode / timed.timing.decode_s);
      memory.push_back(timed.run.peak_rss_bytes);
    }
    return Speed{median(prefill), median(decode), median(memory)};
  }

  Result<std::optional<double>> deep_decode(const Workload& workload, int threads) override {
    TERN_ASSIGN_OR_RETURN(const Timed timed, generate(workload.depth, workload.n_decode + 1, threads));
    return workload.n_decode / timed.timing.decode_s;
  }

  Result<double> first_token_s(int threads) override {
    TERN_ASSIGN_OR_RETURN(const ScratchFolder folder, ScratchFolder::in_temporary_folder());
    TERN_ASSIGN_OR_RETURN(const ProgramRun run, start(1, 1, threads, folder.path() / "run"));
    return run.wall_s;
  }

 private:
  struct Timed {
    ProgramRun run;
    ContractTiming timing;
  };

  Result<ProgramRun> start(int n_prompt, int max_tokens, int threads, const fs::path& out) {
    std::vector<int> ids(static_cast<size_t>(n_prompt));
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int>(i % 200);  // any vocabulary has so many
    return run_program(
        setting(), {"--model", setting().model, "--token-ids", fmt::format("{}", fmt::join(ids, ",")), "--max-tokens",
                    std::to_string(max_tokens), "--threads", std::to_string(threads), "--out", out});
  }

  Result<Timed> generate(int n_prompt, int max_tokens, int threads) {
    TERN_ASSIGN_OR_RETURN(const ScratchFolder folder, ScratchFolder::in_temporary_folder());
    Timed timed;
    TERN_ASSIGN_OR_RETURN(timed.run, start(n_prompt, max_tokens, threads, folder.path() / "run"));
    const std::string where = setting().name + ": result.json";
    TERN_ASSIGN_OR_RETURN(const std::string json, read_file(folder.path() / "run" / "result.json", kMaxOutputBytes));
    TERN_ASSIGN_OR_RETURN(timed.timing, read_contract_result(json, where));
    if (timed.timing.n_prompt != n_prompt || timed.timing.n_generated != max_tokens) {
      return invalid_input(where,
                           fmt::format("is of {} prompt tokens and {} new ones, asked for were {} and {}",
                                       timed.timing.n_prompt, timed.timing.n_generated, n_prompt, max_tokens),
                           "an engine that is timed may not stop at an end token");
    }
    return timed;
  }
};

// The last line that says something, for an error.
std::string last_line(const std::string& output) {
  const size_t end = output.find_last_not_of(" \n\r\t");
  if (end == std::string::npos) return "it printed nothing";
  const size_t begin = output.find_last_of("\n\r", end);
  return printable(std::string_view(output).substr(begin + 1, end - begin));
}

}  // namespace

std::unique_ptr<BenchedEngine> tern_engine(EngineSetting setting) {
  return std::make_unique<TernEngine>(std::move(setting));
}
std::unique_ptr<BenchedEngine> llama_bench_engine(EngineSetting setting) {
  return std::make_unique<LlamaBenchEngine>(std::move(setting));
}
std::unique_ptr<BenchedEngine> contract_engine(EngineSetting setting) {
  return std::make_unique<ContractEngine>(std::move(setting));
}

Result<ProgramRun> run_program(const EngineSetting& setting, const std::vector<std::string>& arguments) {
  TERN_ASSIGN_OR_RETURN(const ScratchFolder folder, ScratchFolder::in_temporary_folder());
  ChildCommand command;
  command.argv = setting.command;
  command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
  command.output_path = folder.path() / "output";
  command.max_output_bytes = kMaxOutputBytes;
  command.timeout_s = setting.timeout_s;
  command.interrupt = setting.interrupt;
  auto child = run_child(command);
  if (!child) {
    child.error().where = setting.name + ": " + child.error().where;
    return tl::unexpected(child.error());
  }
  if (child->interrupted || child->timed_out) {
    return fail(ErrorCode::kEngine, setting.name,
                child->interrupted ? "interrupted" : fmt::format("not done after {:.0f} s", setting.timeout_s));
  }
  if (child->exit_code != 0) {
    const std::string ending = child->signal ? "was ended by " + signal_name(*child->signal)
                                             : fmt::format("ended with exit code {}", child->exit_code.value_or(-1));
    return fail(ErrorCode::kEngine, setting.name, ending + ": " + last_line(child->output_tail),
                printable(fmt::format("{}", fmt::join(command.argv, " ")), 500));
  }
  ProgramRun run;
  TERN_ASSIGN_OR_RETURN(run.output, read_file(command.output_path, kMaxOutputBytes + 4096));
  run.wall_s = child->wall_s;
  run.peak_rss_bytes = static_cast<double>(child->peak_rss_bytes);
  return run;
}

Result<std::pair<std::string, std::string>> split_assignment(const std::string& text, const std::string& option) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
    return fail(ErrorCode::kUsage, option, "'" + printable(text) + "' is not of the form NAME=VALUE");
  }
  return std::pair(text.substr(0, equals), text.substr(equals + 1));
}

}  // namespace tern::bench
