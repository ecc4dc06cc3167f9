#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>

#include "tern/report/view/parts.h"
#include "tern/report/view/shell.h"

namespace tern::report {
namespace {

using compare::Side;
using outcome::ParityStatus;
using outcome::SweepOutcome;

constexpr size_t kMinTraces = 90;  // trace files per scenario

void add_verdict(SweepView& view) {
  const std::string code = fmt::format(" (exit code {})", view.exit_code);
  const bool all_ok = std::all_of(view.scenarios.begin(), view.scenarios.end(),
                                  [](const auto& s) { return s.scenario.status == ParityStatus::kOk; });
  view.mark = view.exit_code != 0 ? Mark::kFail : all_ok ? Mark::kPass : Mark::kInfo;
  const bool is_unreferenced = view.exit_code == 0 && !all_ok;
  view.verdict = is_unreferenced ? "No reference" : outcome::exit_code_title(view.exit_code);
  view.verdict_note = (is_unreferenced       ? " for at least one scenario: the subject ran and was not compared"
                       : view.exit_code == 0 ? " in every scenario"
                                             : "") +
                      code;
}

Span text_or_not_measured(const std::string& text) { return {text.empty() ? kNotMeasured : text}; }

Spans reference_spans(const SweepOutcome& sweep) {
  const outcome::EngineFacts& reference = sweep.reference;
  Spans spans;
  if (!has_reference(sweep)) {
    spans = {{"not available (rust_only)"}};
  } else {
    spans = {{reference.spec.empty() ? reference.kind : reference.spec, true}};
    if (!reference.engine.empty()) {
      spans.insert(spans.end(), {{", "}, {reference.engine}});
    }
  }
  if (!reference.note.empty()) {
    spans.insert(spans.end(), {{": "}, {reference.note}});
  }
  return spans;
}

void add_facts(SweepView& view) {
  const SweepOutcome& sweep = view.sweep;
  const outcome::ModelFacts& model = sweep.model;
  const Span sha256 = model.sha256.empty() ? Span{kNotMeasured} : Span{model.sha256, true};
  view.facts = {
      {"Generated",
       {{sweep.timestamp}, {" by tern "}, {sweep.tern_version}, {fmt::format(", in {:.1f} s", sweep.wall_s)}}},
      {"Model",
       {{model.path, true},
        {" ("},
        text_or_not_measured(model.architecture),
        {", "},
        text_or_not_measured(model.quant_format),
        {"; SHA-256 "},
        sha256,
        {")"}}},
      {"Tokenizer", {{sweep.tokenizer.path, true}}},
      {"Reference", reference_spans(sweep)}};
  if (sweep.resumed) {
    view.facts.push_back({"Resumed", {{resumption_text(*sweep.resumed)}}});
  }
}

// A criterion is met if every scenario meets it; one that could not be measured is not met.
Criterion criterion(const SweepView& view, std::string text,
                    const std::function<std::optional<bool>(const ScenarioView&)>& met) {
  Criterion out;
  out.text = std::move(text);
  for (const ScenarioView& scenario : view.scenarios) {
    const std::optional<bool> result = met(scenario);
    out.n_met += result.value_or(false);
    out.n_unmeasured += !result.has_value();
  }
  out.is_met = out.n_met == view.scenarios.size() && out.n_met > 0;
  return out;
}

void add_criteria(SweepView& view) {
  const auto add = [&](std::string text, const std::function<std::optional<bool>(const ScenarioView&)>& met) {
    view.criteria.push_back(criterion(view, std::move(text), met));
  };
  add("The engines ended well", [](const ScenarioView& s) -> std::optional<bool> {
    const auto& [subject, reference] = s.scenario.sides;
    return subject.execution.ok() && reference.execution.ok() && subject.result.has_value();
  });
  add("Token match is `ok`, or `rust_only` where no reference is required",
      [](const ScenarioView& s) -> std::optional<bool> { return !s.needs_attention; });
  add("Exact match rate is 1.0", [](const ScenarioView& s) {
    return s.exact_match_rate ? std::optional(*s.exact_match_rate >= 1) : std::nullopt;
  });
  add(fmt::format("Cosine similarity is at least {:g}", view.cosine_grades.green), [](const ScenarioView& s) {
    return s.grade == Grade::kNone ? std::nullopt : std::optional(s.grade == Grade::kGreen);
  });
  add(fmt::format("At least {} trace files", kMinTraces),
      [](const ScenarioView& s) -> std::optional<bool> { return s.scenario.sides.subject.n_traces >= kMinTraces; });
  add("Every tensor was compared", [](const ScenarioView& s) -> std::optional<bool> {
    if (!s.scenario.comparison) {
      return std::nullopt;
    }
    const auto& coverage = s.scenario.comparison->coverage;
    return coverage.tensors_expected > 0 && coverage.tensors_compared == coverage.tensors_expected;
  });
}

// Scenarios often share a recommendation.
void add_recommendations(SweepView& view) {
  auto& shared = view.recommendations;
  for (const ScenarioView& scenario : view.scenarios) {
    for (const std::string& sentence : scenario.recommendations) {
      auto it =
          std::find_if(shared.begin(), shared.end(), [&](const auto& known) { return known.sentence == sentence; });
      if (it == shared.end()) {
        it = shared.insert(shared.end(), {sentence, {}});
      }
      it->scenarios.push_back(scenario.scenario.scenario.name);
    }
  }
}

void add_tree(SweepView& view) {
  const auto add = [&](Side side, std::string_view file, const std::string& what) {
    view.tree.push_back(fmt::format("│   ├── {:<23} {}", file_of(side, file), what));
  };
  const auto of_side = [](Side side, std::string_view what) {
    return fmt::format("the {}'s {}", compare::side_name(side), what);
  };
  view.tree.push_back(view.sweep.output_dir.string() + "/");
  for (const ScenarioView& scenario : view.scenarios) {
    view.tree.push_back(fmt::format("├── {}/", scenario.scenario.scenario.name));
    for (const auto& [side, outcome] : scenario.scenario.sides.both()) {
      if (side == Side::kSubject || scenario.reference_left_files) {
        add(side, "traces/", fmt::format("{} traces of the {}", outcome.n_traces, compare::side_name(side)));
        add(side, "output.txt", of_side(side, "output"));
      }
      if (side == Side::kSubject && outcome.result) {
        add(side, "run/", of_side(side, "tokens and logits, for tern compare"));
      } else if (side == Side::kReference && !outcome.execution.command.empty()) {
        add(side, "run/", of_side(side, "tokens and logits"));
      }
    }
    view.tree.emplace_back("│   ├── logits-comparison.json  parity receipt");
    view.tree.emplace_back("│   └── report.txt");
  }
  view.tree.insert(view.tree.end(),
                   {"├── sweep.json                  everything, for programs", "├── junit.xml", "└── summary.md"});
}

void count_test_results(SweepView& view) {
  for (const ScenarioView& scenario : view.scenarios) {
    view.n_failed += scenario.test_result == TestResult::kFailed;
    view.n_errors += scenario.test_result == TestResult::kError;
    view.n_skipped += scenario.test_result == TestResult::kSkipped;
  }
}

}  // namespace

std::string resumption_text(const outcome::Resumption& resumption) {
  std::vector<std::string> parts;
  for (const auto& [name, taken_over, n_run] : resumption.sections) {
    if (!taken_over.empty()) {
      parts.push_back(
          fmt::format("{} of {}", n_run == 0 ? "all" : fmt::format("{}", fmt::join(taken_over, ", ")), name));
    }
  }
  return parts.empty() ? "nothing was there to take over" : fmt::format("took over {}", fmt::join(parts, "; "));
}

SweepView view_of(const SweepOutcome& sweep) {
  SweepView view(sweep);
  for (const outcome::ScenarioOutcome& scenario : sweep.scenarios) {
    view.scenarios.push_back(view_of(sweep, scenario));
    if (scenario.comparison) {
      view.cosine_grades = scenario.comparison->cosine_grades;  // one for the whole sweep
    }
  }
  view.exit_code = outcome::exit_code(sweep);
  add_verdict(view);
  add_facts(view);
  add_criteria(view);
  add_recommendations(view);
  add_tree(view);
  count_test_results(view);
  if (view.exit_code != 0 && !sweep.command.empty()) {
    view.repeat_line = shell_line({}, sweep.command);
  }
  for (const auto& [name, value] : sweep.environment) {
    view.environment.push_back({name, value});
  }
  return view;
}

}  // namespace tern::report
