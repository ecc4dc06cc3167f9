// The adapter's command line: the engine contract's options (docs/trace-format.md) and those that tern's checks of a
// reference need.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tern/base/error.h"

namespace tern::adapter {

struct Options {
  std::string model;
  std::string prompt;              // given to libllama's own tokenizer, special tokens and BOS included
  std::vector<int32_t> token_ids;  // instead of a prompt; BOS is not added
  std::string out;                 // the run folder
  std::string trace_folder;        // BITNET_TRACE_DIR; empty: traces go to trace.jsonl in `out`
  std::string backends;            // folder of libggml-cpu-*.so; empty: beside libggml
  std::string engine;              // how result.json names the engine
  std::string arithmetic;          // as --arithmetic gives it; empty: not claimed
  std::vector<int32_t> teacher;    // fed instead of the engine's own choices, from the first decode step on
  std::map<std::string, std::string> settings;  // settings.h
  bool has_prompt = false;
  int max_tokens = 1;
  int threads = 4;
  int ubatch = 512;
  int ctx = 0;                   // most positions; 0: what the model was made for
  std::string stages = "known";  // or "all": every node of the graph is recorded
  std::string around;            // with dump_tensors: only those in this tensor's neighbourhood; empty: all
  std::string inputs_before;     // only of tensors before this one; empty: all
  std::string inputs_from;       // run folder with values: each stage is computed from them; empty: none
  bool facts = false;            // instead of a run: print what this adapter is and can
  bool dump_tensors = false;
  bool trace_list = false;      // traces in `out` whatever BITNET_TRACE_DIR says
  bool observe = true;          // false: no evaluation callback at all, so no traces
  bool token_by_token = false;  // the prompt too: matrix-vector products where there would be matrix-matrix ones
  bool list_nodes = false;      // print the graph nodes of the first pass and the stage each holds
  bool verbose = false;         // show what libllama logs
  bool help = false;
};

// `arguments`: without the program's name. Errors: kUsage.
Result<Options> parse_options(const std::vector<std::string>& arguments);

const char* usage();

// The keys of those abilities (tern/peer/abilities.h) that this command line has an option for.
std::vector<std::string> abilities();

}  // namespace tern::adapter
