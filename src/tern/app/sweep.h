// `tern sweep`, but for its options and its terminal: engines are opened and checked, every scenario is run and judged,
// and all reports are written.
#pragma once

#include <functional>
#include <memory>

#include "tern/app/sweep_options.h"
#include "tern/base/error.h"
#include "tern/outcome/sweep_outcome.h"
#include "tern/sweep/sweep.h"

namespace tern::app {

struct SweepEnd {
  outcome::SweepOutcome outcome;  // of the scenarios that are complete
  size_t n_scenarios = 0;         // that were asked for
  int signal = 0;                 // that interrupted it; 0: it came to its end
  bool can_be_resumed = false;
};

// Makes the progress display for a number of scenarios.
using MakeProgress = std::function<std::unique_ptr<sweep::Progress>(size_t)>;

// Errors: kUsage, kIo, kInvalidInput, kEngine, before anything has run or where a report cannot be written. What
// engines do wrong is in the outcome.
Result<SweepEnd> sweep_and_report(const SweepOptions& options, const MakeProgress& make_progress);

}  // namespace tern::app
