// What was compared, and by which command: the model, the tokenizer, the engines, the line that repeats it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tern/base/json.h"

namespace tern::outcome {

struct ModelFacts {
  std::string path, sha256, architecture, name;
  std::string quant_format;  // "I2_S", "F16", ...
  std::string quant_flavor;  // "bitnet.cpp", "bitnet32", "qk256", or empty
  uint64_t file_bytes = 0;
  bool graph_is_known = true;  // false where nodes may have the names of stages and mean something else
};

struct TokenizerFacts {
  std::string path, sha256, kind;
  int64_t vocab_size = 0;
  std::vector<std::string> disagreements;  // with the GGUF's own vocabulary
};

struct EngineFacts {
  std::string kind;    // "none", "pack", ...
  std::string spec;    // as given or found: "pack:models/tern-tiny/reference"
  std::string engine;  // what it says of itself
  std::string id;      // of a pack
  std::string note;    // e.g. why there is none, or that the model check was overridden
  Json details;        // free-form facts (null if none); "settings" are what --subject-option and its like have set
  bool is_there = false;
  std::string pack_folder;  // of a pack
};

// The sweep as a command that works from anywhere, for reproducing one of its scenarios. The reports add an output
// directory beside `output_dir` and --only.
struct ReproCommand {
  std::filesystem::path working_dir;               // to go to first; empty: any will do
  std::map<std::string, std::string> environment;  // what was set that changes results
  std::vector<std::string> command;                // without output directory and --only; empty: not known
  std::filesystem::path output_dir;                // of the sweep that is reproduced, absolute
};

}  // namespace tern::outcome
