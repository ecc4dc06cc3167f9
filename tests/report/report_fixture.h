// A sweep and its scenarios as the tests of reports take them. Reports are checked for facts: that each figure is
// the measured one or says that there is none, that advice follows from what happened, and that text from outside
// stays text.
#pragma once

#include <gtest/gtest.h>

#include <csignal>
#include <string>
#include <vector>

#include "compare/run_builder.h"
#include "tern/report/view/view.h"
#include "tern/report/writers/writers.h"

namespace tern::report {

using outcome::ParityStatus;
using outcome::ScenarioOutcome;
using outcome::SweepOutcome;
using test::RunBuilder;

class ReportTest : public testing::Test {
 protected:
  ReportTest() {
    sweep_.tern_version = "0.1.0";
    sweep_.timestamp = "2026-11-22T21:00:00Z";
    sweep_.output_dir = "/out";
    sweep_.command = {"tern", "sweep", "m.gguf", "t.json", "/out"};
    sweep_.model = {"m.gguf", std::string(64, 'e'), "bitnet-b1.58", "tiny", "I2_S", "bitnet.cpp", 1000};
    sweep_.tokenizer = {"t.json", std::string(64, 'f'), "gpt2", 512, {}};
    sweep_.reference = {"pack", "pack:recordings", "bitnet.cpp", "0123", "", nullptr, true, "recordings"};
    sweep_.environment = {{"BITNET_SEED", "42"}, {"cpu", "some | cpu"}};
  }

  // A scenario of two runs as the sweep would report it.
  ScenarioOutcome compared(const RunBuilder& subject, const RunBuilder& reference) const {
    const trace::EngineRun a = subject.build(folder_);
    const trace::EngineRun b = reference.build(folder_);
    ScenarioOutcome scenario = started();
    scenario.sides.subject.result = a.result;
    scenario.sides.reference.result = b.result;
    scenario.sides.subject.n_traces = a.trace.size();
    scenario.sides.reference.n_traces = b.trace.size();
    scenario.logits_dim = 4;
    scenario.comparison = compare::compare_runs(a, b);
    scenario.reason = scenario.comparison->verdict.reason;
    switch (scenario.comparison->verdict.kind) {
      case compare::VerdictKind::kMatch:
      case compare::VerdictKind::kWithinTolerance:
        scenario.status = ParityStatus::kOk;
        break;
      case compare::VerdictKind::kDiverged:
        scenario.status = ParityStatus::kDiverged;
        break;
      default:
        scenario.status = ParityStatus::kMistrusted;
    }
    return scenario;
  }
  static ScenarioOutcome started() {
    ScenarioOutcome scenario;
    scenario.scenario = {"scenario1", "2+2=", {}, 2, "Two tokens"};
    scenario.folder = "/out/scenario1";
    scenario.sides.subject.execution.command = {"tern", "run", "--prompt", "2+2="};
    scenario.sides.subject.execution.environment = {{"BITNET_TRACE_DIR", "/out/scenario1/rs-traces"}};
    scenario.sides.subject.execution.exit_code = 0;
    scenario.sides.subject.execution.timeout_s = 180;
    return scenario;
  }
  ScenarioOutcome diverged_at(const std::string& name) const {
    RunBuilder subject = RunBuilder::example();
    subject.tensors[name][0] += 0.5F;
    return compared(subject, RunBuilder::example());
  }
  ScenarioOutcome ok() const { return compared(RunBuilder::example(), RunBuilder::example()); }
  ScenarioOutcome without_reference() const {
    ScenarioOutcome scenario = ok();
    scenario.comparison.reset();
    scenario.sides.reference.result.reset();
    scenario.sides.reference.n_traces = 0;
    scenario.status = ParityStatus::kRustOnly;
    scenario.reason = "no reference";
    return scenario;
  }
  static ScenarioOutcome failed(const std::string& failure) {
    ScenarioOutcome scenario = started();
    scenario.status = ParityStatus::kSubjectFailed;
    scenario.sides.subject.execution.exit_code.reset();
    scenario.sides.subject.execution.failure = scenario.reason = failure;
    return scenario;
  }
  static ScenarioOutcome timed_out() {
    ScenarioOutcome scenario = failed("timed out after 180 s");
    scenario.sides.subject.execution.timed_out = true;
    scenario.sides.subject.execution.last_tensor = "blk3/up_proj";
    return scenario;
  }
  static ScenarioOutcome crashed() {
    ScenarioOutcome scenario = failed("killed by SIGSEGV");
    scenario.sides.subject.execution.signal = SIGSEGV;
    return scenario;
  }

  std::string text(const ScenarioOutcome& scenario) const { return report_text(view_of(sweep_, scenario)); }
  std::string summary(std::vector<ScenarioOutcome> scenarios) {
    sweep_.scenarios = std::move(scenarios);
    return summary_md(view_of(sweep_));
  }
  Json receipt(const ScenarioOutcome& scenario) const {
    return parse_json(receipt_json(view_of(sweep_, scenario)), "receipt").value();
  }
  std::string advice(const ScenarioOutcome& scenario) const {
    std::string all;
    const ScenarioView view = view_of(sweep_, scenario);
    for (const std::string& sentence : view.recommendations) {
      all += sentence + "\n";
    }
    return all;
  }

  test::TemporaryFolder folder_;
  SweepOutcome sweep_;
};

}  // namespace tern::report
