// Whether a model file is what it should be: norms, projections, tokenizer, and a greedy probe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/interrupt.h"
#include "tern/base/json.h"

namespace tern::app {

struct ValidateOptions {
  std::string model, tokenizer;
  std::string prompt = "Once upon a time";
  int max_tokens = 32;
  std::string timeout;  // seconds of the probe, as text; empty: CROSSVAL_TIMEOUT_SECS, else 180
};

struct ModelCheck {
  std::string name;   // "norms"
  std::string title;  // "Norm weights"
  bool passed = false;
  std::string summary;  // one line with the figures
  std::vector<std::string> problems;
  Json figures = Json::object();
};

struct Validation {
  std::string model, tokenizer;
  std::vector<ModelCheck> checks;
  std::optional<Error> probe_error;  // why `checks` has no probe: it failed, or its timeout is no number

  bool passed() const;
};

// Errors: those of open_model_and_tokenizer(), check_computable() and rules_for(); kInvalidInput for a prompt that the
// tokenizer cannot encode.
Result<Validation> validate(const ValidateOptions& options, const Interrupt& interrupt);

std::string validation_text(const Validation& validation);
Json to_json(const Validation& validation);

}  // namespace tern::app
