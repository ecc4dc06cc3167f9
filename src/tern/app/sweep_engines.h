// The engines of a sweep: opened as the user asked for them, and everything else that has a say in its result.
#pragma once

#include <string>

#include "tern/app/opened_model.h"
#include "tern/app/sweep_options.h"
#include "tern/base/error.h"
#include "tern/base/json.h"
#include "tern/compare/sided.h"
#include "tern/outcome/facts.h"
#include "tern/peer/engine_registry.h"
#include "tern/peer/open_engine.h"
#include "tern/sweep/sweep.h"

namespace tern::app {

using SweepEngines = compare::Sided<peer::OpenedEngine>;

// `arithmetic`: what the reference is known to follow; empty: not known. Errors: kUsage, and those of an engine that
// cannot be opened.
Result<SweepEngines> open_engines(const SweepOptions& options, const peer::EngineSpec& reference_spec,
                                  const OpenedModel& opened, const std::string& arithmetic, const Interrupt& interrupt);

// Whether both engines claim one arithmetic, as far as that is known before they run.
bool claim_one_arithmetic(const SweepEngines& engines, const OpenedModel& opened, const std::string& arithmetic);

// Whether the reference is a pack of another model. Only --allow-model-mismatch permits one.
bool is_of_another_model(const peer::OpenedEngine& reference, const OpenedModel& opened);

outcome::EngineFacts facts_of(const peer::OpenedEngine& opened);

// Everything that has a say in the result, so that --resume does not put two sweeps into one report. Files count by
// their content, not by their place. Errors: kIo.
Result<Json> everything_asked(const SweepOptions& options, const OpenedModel& opened, const sweep::SweepPlan& plan,
                              const SweepEngines& engines);

}  // namespace tern::app
