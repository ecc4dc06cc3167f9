// <output_dir>/summary.md
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "tern/report/writers/escape.h"
#include "tern/report/writers/writers.h"

namespace tern::report {
namespace {

std::string_view symbol(Mark mark) {
  switch (mark) {
    case Mark::kPass:
      return "✅";
    case Mark::kInfo:
      return "ℹ️";
    case Mark::kFail:
      return "❌";
  }
  return "?";
}

std::string_view symbol(Grade grade) {
  switch (grade) {
    case Grade::kNone:
      return "";
    case Grade::kGreen:
      return "✅";
    case Grade::kYellow:
      return "⚠️";
    case Grade::kRed:
      return "❌";
  }
  return "?";
}

std::string header(const SweepView& view) {
  std::string out = fmt::format("# Cross-Validation Sweep Summary\n\n{} **{}**{}\n\n", symbol(view.mark), view.verdict,
                                view.verdict_note);
  for (const auto& [label, value] : view.facts) {
    out += fmt::format("- **{}:** {}\n", label, markdown(value));
  }
  return out;
}

std::string results_table(const SweepView& view) {
  std::string out =
      "\n## Scenario Results\n\n"
      "| Scenario | Prompt | Tokens | Subject | Token Match | Exact Match Rate | Cosine Similarity | Traces | First "
      "Divergence |\n|---|---|---|---|---|---|---|---|---|\n";
  for (const ScenarioView& scenario : view.scenarios) {
    const outcome::Scenario& asked = scenario.scenario.scenario;
    out += fmt::format("| {} | {} | {} | {} | {} `{}` | {} | {} {} | {} | {} |\n", markdown_text(asked.name),
                       markdown_code(asked.prompt, Place::kTableCell), asked.max_tokens,
                       markdown_text(scenario.subject_ending), symbol(scenario.mark), scenario.status,
                       figure(scenario.exact_match_rate), cosine_figure(scenario.min_cosine), symbol(scenario.grade),
                       scenario.scenario.sides.subject.n_traces,
                       markdown({scenario.first_divergence_cell}, Place::kTableCell));
  }
  return out;
}

std::string checklist(const SweepView& view) {
  std::string out = "\n## Success Criteria\n\n";
  for (const Criterion& criterion : view.criteria) {
    out += fmt::format("- [{}] {} ({} of {} scenarios{})\n", criterion.is_met ? "x" : " ", criterion.text,
                       criterion.n_met, view.scenarios.size(),
                       criterion.n_unmeasured > 0 ? fmt::format(", {} not measured", criterion.n_unmeasured) : "");
  }
  return out;
}

std::string divergence_analysis(const SweepView& view) {
  std::string out = "\n## Divergence Detection\n\n";
  for (const ScenarioView& scenario : view.scenarios) {
    out += fmt::format("- **{}** `{}`", markdown_text(scenario.scenario.scenario.name), scenario.status);
    out += scenario.compared.empty() ? "" : ": " + scenario.compared;
    out += scenario.scenario.reason.empty() ? "\n" : ". " + markdown_text(scenario.scenario.reason) + "\n";
  }
  const auto& [green, yellow] = view.cosine_grades;
  return out + fmt::format(
                   "\nCosine similarity, the smallest over all compared rows of logits: {} at least {:g}, {} {:g} to "
                   "{:g}, {} below {:g}. Tensors are compared in execution order, "
                   "so the first divergence is where to look.\n",
                   symbol(Grade::kGreen), green, symbol(Grade::kYellow), yellow, green, symbol(Grade::kRed), yellow);
}

std::string fenced(const std::string& text) {
  size_t longest = 2;
  for (size_t i = 0, run = 0; i < text.size(); ++i) {
    run = text[i] == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  const std::string fence(longest + 1, '`');
  return fence + "\n" + text + fence + "\n";
}

std::string recommendation_list(const SweepView& view) {
  std::string out = "\n## Recommendations\n\n";
  for (size_t i = 0; i < view.recommendations.size(); ++i) {
    const auto& [sentence, scenarios] = view.recommendations[i];
    std::vector<std::string> names;
    std::transform(scenarios.begin(), scenarios.end(), std::back_inserter(names), markdown_text);
    out += fmt::format("{}. {} _({})_\n", i + 1, markdown_text(sentence), fmt::join(names, ", "));
  }
  for (const ScenarioView& scenario : view.scenarios) {
    if (!scenario.repro.empty()) {
      const bool both = !scenario.compare_line.empty();
      out += fmt::format("\nTo run {} again, alone{}:\n\n", markdown_text(scenario.scenario.scenario.name),
                         both ? ", and to see every tensor of the two runs" : "") +
             fenced(scenario.repro + "\n" + (both ? scenario.compare_line + "\n" : ""));
    }
  }
  if (!view.repeat_line.empty()) {
    out += "\nTo run the sweep again:\n\n" + fenced(view.repeat_line + "\n");
  }
  return out;
}

std::string directory_structure(const SweepView& view) {
  std::string tree;
  for (const std::string& line : view.tree) {
    tree += one_line(line) + "\n";
  }
  return "\n## Directory Structure\n\n" + fenced(tree);
}

std::string environment(const SweepView& view) {
  std::string out = "\n## Environment\n\n| | |\n|---|---|\n";
  for (const auto& [name, value] : view.environment) {
    out += fmt::format("| {} | {} |\n", markdown_text(name), markdown_code(value, Place::kTableCell));
  }
  return out + fmt::format("| Time limit for each engine run | {:g} s |\n", view.sweep.timeout_s);
}

}  // namespace

std::string summary_md(const SweepView& view) {
  return header(view) + results_table(view) + checklist(view) + divergence_analysis(view) + recommendation_list(view) +
         directory_structure(view) + environment(view);
}

}  // namespace tern::report
