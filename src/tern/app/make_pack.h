// A pack of run folders that exist already, and whether a pack is whole and of a certain model.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/trace/pack.h"

namespace tern::app {

struct MakePackOptions {
  std::string model, tokenizer, engine_facts, out, arithmetic;
  std::vector<std::string> run_folders;
  std::optional<size_t> top_logits;
  bool no_values = false;
};

// Errors: kInvalidInput for facts without a name, and those of trace::Pack::create().
Result<trace::Pack> make_pack(const MakePackOptions& options);

struct CheckPackOptions {
  std::string folder;
  std::string model;      // that it should have been recorded from; empty: any
  std::string tokenizer;  // that should give the recorded ids for the recorded prompts; empty: any
};

// One line that says what was found to be whole. Errors: kInvalidInput for a pack that is damaged or of another model
// or tokenizer; kIo.
Result<std::string> check_pack(const CheckPackOptions& options);

}  // namespace tern::app
