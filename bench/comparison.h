// What compare_peers measured, and what follows from it: ratios, and which goals are reached. Pure functions over plain
// data. Called by compare_peers; peer_report writes it out.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "benched_engine.h"
#include "tern/base/json.h"

namespace tern::bench {

// One figure, measured once in each run; index = run. Empty: not measured.
using Series = std::vector<double>;

// What was measured with so many threads; empty where nothing was.
Series at(const std::map<int, Series>& by_threads, int threads);

struct EngineFigures {
  std::string name;
  std::string command;
  std::string model;
  double model_bytes = 0;
  std::map<int, Series> prefill_tokens_per_s;  // by threads
  std::map<int, Series> decode_tokens_per_s;   // by threads
  Series deep_decode_tokens_per_s;             // at Comparison::threads, like those below
  Series first_token_s;
  Series peak_rss_bytes;
};

// One line of the table of sizes that bitnet.cpp publishes (src/README.md): [tokens, cols] x [cols, rows], one thread.
struct ProductSize {
  int tokens = 0;
  int cols = 0;
  int rows = 0;
  double published_ms = 0;   // "Activation Parallel", AMD EPYC 7V13
  std::string text() const;  // "[128, 2048] x [2048, 8192]"
};
const std::vector<ProductSize>& published_sizes();

struct ProductFigures {
  ProductSize size;
  Series ours_ms;
  Series peer_ms;
};

struct Comparison {
  std::map<std::string, std::string> machine;
  Workload workload;
  int runs = 0;
  int threads = 0;       // that most figures are of: one for each core
  int more_threads = 0;  // than cores; 0: none
  EngineFigures ours;
  std::vector<EngineFigures> peers;  // the first is the one that most goals are about
  std::vector<ProductFigures> products;
  Series head_copy_s;  // of tern, once in a process: no speed holds it
  // Of the three built-in scenarios, at Comparison::threads: whole processes that trace and that do not.
  Series traced_s;
  Series untraced_s;
  Series sweep_s;
};

// Middle and ends of a series, or of the ratios of two, run by run: what both measured within minutes of each other.
struct Spread {
  double median = 0;
  double low = 0;
  double high = 0;
};
std::optional<Spread> spread(const Series& series);
// a[i] / b[i]; nullopt where either was not measured in every run of the other.
std::optional<Spread> ratio(const Series& a, const Series& b);

struct Goal {
  std::string id;    // "prefill"
  std::string text;  // "Prefill of 128 tokens, speed against bitnet.cpp's"
  std::optional<Spread> value;
  bool at_least = true;  // or at most
  double target = 0;
  std::optional<double> stretch;

  // By the median. nullopt: not measured.
  std::optional<bool> reached() const;
  std::optional<bool> stretch_reached() const;
};
std::vector<Goal> judge(const Comparison& comparison);

}  // namespace tern::bench
