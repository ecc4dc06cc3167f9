// What is to be said about a sweep, derived once from its outcome: verdict, figures, grades, tables as rows, sentences,
// lines to reproduce. writers/ put it into text, Markdown, XML and JSON; they compute and decide nothing. Nothing in a
// view is escaped for a format. A figure that was not measured is absent, or "n/a" where it is a text.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tern/outcome/sweep_outcome.h"
#include "tern/report/view/comparison_view.h"
#include "tern/report/view/figures.h"

namespace tern::report {

// A text whose parts may be literal: paths, names, command words.
struct Span {
  std::string text;
  bool is_code = false;
};
using Spans = std::vector<Span>;

// "Label: value"
struct Fact {
  std::string label, value;
};

// A part of the long report, in this order.
struct Section {
  std::string title;
  std::vector<Fact> facts;
  std::string note;                            // a sentence; may be empty
  std::optional<MarkedTable> table;            // of tensors
  std::optional<ArbitrationView> arbitration;  // the oracle's
};

enum class Mark { kPass, kInfo, kFail };

// What a test runner makes of a scenario.
enum class TestResult { kPassed, kSkipped, kFailed, kError };

// A line to paste into a shell, and what it does.
struct Command {
  std::string purpose, line;
};

struct ScenarioView {
  ScenarioView(const outcome::SweepOutcome& of_sweep, const outcome::ScenarioOutcome& of_scenario)
      : sweep(of_sweep), scenario(of_scenario) {}

  const outcome::SweepOutcome& sweep;        // what was measured; its list of scenarios may not be complete
  const outcome::ScenarioOutcome& scenario;  // of it

  std::string_view status;       // "ok", "diverged", ...
  bool needs_attention = false;  // neither ok nor a permitted rust_only
  Mark mark = Mark::kPass;
  TestResult test_result = TestResult::kPassed;
  double seconds = 0;  // of both engines

  bool reference_was_there = false;                  // whether or not it did its work
  bool reference_left_files = false;                 // beside the subject's
  const compare::TokenComparison* tokens = nullptr;  // what both sides generate on their own; null: not compared
  std::optional<double> min_cosine, mean_cosine;     // over the compared rows of logits
  std::optional<double> exact_match_rate;
  Grade grade = Grade::kNone;                  // of min_cosine
  std::optional<Divergence> first_divergence;  // as in logits-comparison.json

  std::vector<std::string> recommendations;  // plain sentences, most important first; at least one
  std::string repro;              // runs just this scenario again, into a folder of its own; empty: needs no attention
  std::string compare_line;       // looks at the two runs again; empty where there are not two
  std::vector<Command> commands;  // everything that reproduces a scenario that needs attention, these two included
  std::vector<Section> sections;  // of report.txt, from the configuration to the files
  std::vector<Fact> environment;
  std::string subject_ending;  // "exit code 0 after 1.20 s"
  Span first_divergence_cell;  // a tensor's name or words
  std::string compared;        // one sentence on what was compared, and held to what; empty: nothing
};

ScenarioView view_of(const outcome::SweepOutcome& sweep, const outcome::ScenarioOutcome& scenario);

struct Criterion {
  std::string text;
  bool is_met = false;
  size_t n_met = 0, n_unmeasured = 0;
};

// A recommendation, and the scenarios that share it.
struct SharedRecommendation {
  std::string sentence;
  std::vector<std::string> scenarios;
};

struct SweepView {
  explicit SweepView(const outcome::SweepOutcome& of_sweep) : sweep(of_sweep) {}

  const outcome::SweepOutcome& sweep;
  std::vector<ScenarioView> scenarios;

  int exit_code = 0;
  Mark mark = Mark::kPass;
  std::string verdict, verdict_note;                 // "Parity", " in every scenario"
  std::vector<std::pair<std::string, Spans>> facts;  // label, value
  std::vector<Criterion> criteria;                   // of summary.md
  std::vector<SharedRecommendation> recommendations;
  std::string repeat_line;        // the sweep again; empty where everything is well
  std::vector<std::string> tree;  // the output directory, a line for each entry
  compare::CosineGrades cosine_grades;
  std::vector<Fact> environment;
  size_t n_failed = 0, n_errors = 0, n_skipped = 0;  // by test result
};

SweepView view_of(const outcome::SweepOutcome& sweep);

// What a resumed sweep took over: one sentence without a subject, "took over all of scenario1; rs-run of scenario2".
std::string resumption_text(const outcome::Resumption& resumption);

}  // namespace tern::report
