// One engine as compare_peers times it: always a program of its own, started anew for each measurement, so that load
// times and memory are those of a whole process. Called by compare_peers only.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/interrupt.h"

namespace tern::bench {

// What is measured, the same for every engine.
struct Workload {
  int n_prompt = 128;
  int n_decode = 32;
  int depth = 2048;  // positions before the decode that is timed in a long context
  int repetitions = 3;
};

struct Speed {
  double prefill_tokens_per_s = 0;
  double decode_tokens_per_s = 0;
  double peak_rss_bytes = 0;  // of the process that measured both
  double head_copy_s = 0;     // of tern: once in a process, between the two, and in neither
};

struct EngineSetting {
  std::string name;                  // in tables
  std::vector<std::string> command;  // the program and what it needs in front of our arguments
  std::string model;
  double timeout_s = 600;
  const Interrupt* interrupt = nullptr;
};

class BenchedEngine {
 public:
  virtual ~BenchedEngine() = default;
  explicit BenchedEngine(EngineSetting setting) : setting_(std::move(setting)) {}

  const EngineSetting& setting() const { return setting_; }

  // All errors are kInvalidInput or kEngine, and name the engine: it cannot be started, fails, takes too long, or
  // prints what cannot be read.

  // Finds out what the program is and can do. Before anything else, once.
  virtual Status prepare() = 0;
  // Prefill from an empty context, and decode of n_decode tokens with as little context as the program can have.
  virtual Result<Speed> speed(const Workload& workload, int threads) = 0;
  // Tokens per second of decoding n_decode tokens after `depth` positions; nullopt where the program cannot tell.
  virtual Result<std::optional<double>> deep_decode(const Workload& workload, int threads) = 0;
  // Seconds of a process from its start to its end, that loads the model and evaluates one token.
  virtual Result<double> first_token_s(int threads) = 0;

 private:
  EngineSetting setting_;
};

// `tern bench` and `tern run`; the command is tern's binary.
std::unique_ptr<BenchedEngine> tern_engine(EngineSetting setting);
// llama-bench of any relative of llama.cpp. Where it has no option for a filled context, llama-batched-bench beside it.
std::unique_ptr<BenchedEngine> llama_bench_engine(EngineSetting setting);
// A program that speaks the engine contract (docs/trace-format.md) and fills in `timing` of result.json.
std::unique_ptr<BenchedEngine> contract_engine(EngineSetting setting);

// What one run of a program gave.
struct ProgramRun {
  std::string output;  // stdout and stderr as they came
  double wall_s = 0;
  double peak_rss_bytes = 0;
};
// Runs the setting's command with the arguments behind it and expects exit code 0. Errors: as above.
Result<ProgramRun> run_program(const EngineSetting& setting, const std::vector<std::string>& arguments);

// NAME=VALUE. Errors: kUsage, naming the option.
Result<std::pair<std::string, std::string>> split_assignment(const std::string& text, const std::string& option);

}  // namespace tern::bench
