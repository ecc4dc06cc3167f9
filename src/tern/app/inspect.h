// What a GGUF file holds and whether its weights are plausible, as `tern inspect` prints it.
#pragma once

#include <string>

#include "tern/base/error.h"

namespace tern::app {

struct InspectOptions {
  std::string model;
  bool json = false;
  bool ln_stats = false;
  std::string gate = "auto";
  std::string policy;
};

struct Inspection {
  std::string text;    // for a terminal, or one JSON object
  bool passed = true;  // the gate; true where there is none
};

// Errors: kUsage for a gate without its policy or a policy without its gate; those of gguf::View::open() and of the
// policy file.
Result<Inspection> inspect(const InspectOptions& options);

}  // namespace tern::app
