// Which tensors and metadata of a bad model make it bad, by writing them into the good one.
#pragma once

#include <string>
#include <vector>

#include "tern/app/bisect_trial.h"
#include "tern/base/error.h"
#include "tern/base/interrupt.h"
#include "tern/base/json.h"
#include "tern/bisect/hybrid_model.h"

namespace tern::app {

struct ModelsOptions {
  TrialOptions trial;  // its model is the good one
  std::string bad;     // the path of the other
};

struct FoundModelChanges {
  size_t n_differing = 0;                   // tensors and keys that differ between the two
  std::vector<bisect::ModelChange> needed;  // of them, a smallest set that makes the good model bad
  Found found;
};

// Errors: kNoVerdict where the files hold the same, or the good one is not good or the bad one not bad; kInvalidInput;
// kIo; kEngine when interrupted.
Result<FoundModelChanges> find_model_changes(const ModelsOptions& options, const Interrupt& interrupt);

std::string model_changes_text(const FoundModelChanges& changes);
Json to_json(const FoundModelChanges& changes);

}  // namespace tern::app
