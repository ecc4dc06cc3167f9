// What a sweep or a comparison found, written out: one function per file or screen. Called by cli/ only, which puts the
// texts where they belong. Nothing is measured here: every figure comes from compare/'s data, and one that is absent
// there is `null` in JSON and `n/a` for people, never a number.
//
// Text from outside (prompts, file names, engine names, messages) is escaped for the format it goes into.
#pragma once

#include <string>

#include "tern/base/json.h"
#include "tern/compare/compare_runs.h"
#include "tern/outcome/sweep_outcome.h"

namespace tern::report {

// <scenario>/report.txt
std::string report_text(const outcome::SweepOutcome& sweep, const outcome::ScenarioOutcome& scenario);

// <output_dir>/summary.md
std::string summary_md(const outcome::SweepOutcome& sweep);

// <scenario>/logits-comparison.json, the parity receipt. Its keys are an interface (docs/cross-validation.md); they and
// their meaning follow BitNet-rs, crossval/tests/parity_bitnetcpp.rs. `parity.cosine_similarity` is the smallest over
// the compared rows of logits; `rust` is the subject, whatever language it is written in.
std::string receipt_json(const outcome::SweepOutcome& sweep, const outcome::ScenarioOutcome& scenario);

// <output_dir>/sweep.json: everything, every compared tensor included.
std::string sweep_json(const outcome::SweepOutcome& sweep);

// What a resumed sweep took over: one sentence without a subject, "took over all of scenario1; rs-run of scenario2".
std::string resumption_text(const outcome::Resumption& resumption);

// <output_dir>/junit.xml: a test case per scenario. Divergence is a failure; an engine's failure and a mistrusted
// comparison are errors; a missing reference that nobody required is skipped.
std::string junit_xml(const outcome::SweepOutcome& sweep);

// One line for a shell that runs just this scenario again, into a folder of its own; empty where it needs no attention.
// Part of every report of a scenario.
std::string repro_line(const outcome::SweepOutcome& sweep, const outcome::ScenarioOutcome& scenario);
// A command as one line that can be pasted into a shell, in any folder.
std::string shell_line(const outcome::ReproCommand& repro);

// `tern compare --json`, and `comparison` in sweep.json.
Json comparison_json(const compare::RunComparison& comparison);

// `tern compare` for people: coverage, tokens, logits, the first divergence among its neighbours, the verdict.
std::string comparison_text(const compare::RunComparison& comparison);

// What the oracle says of two sides: `stages` has each tensor's errors. Part of sweep.json and of `tern compare
// --json`.
Json arbitration_json(const compare::Arbitration& arbitration);
// The same for people: who is wrong, from where on, why, and the errors around that place.
std::string arbitration_text(const compare::Arbitration& arbitration, const std::optional<outcome::Cause>& cause);
// The contract's `cause`; null where none was looked for.
Json cause_json(const std::optional<outcome::Cause>& cause);
// `tern reference check --json`, and `reference_check` in sweep.json.
Json reference_check_json(const outcome::ReferenceCheckResult& result);

}  // namespace tern::report
