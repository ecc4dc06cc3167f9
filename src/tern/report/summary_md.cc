#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "tern/report/format.h"
#include "tern/report/recommendations.h"
#include "tern/report/report.h"

namespace tern::report {
namespace {

using outcome::ParityStatus;
using outcome::ScenarioOutcome;
using outcome::SweepOutcome;

constexpr size_t kMinTraces = 90;  // mission text: 90+ trace files per scenario

std::string_view status_symbol(const SweepOutcome& sweep, const ScenarioOutcome& scenario) {
  if (!needs_attention(sweep, scenario)) {
    return scenario.status == ParityStatus::kOk ? "✅" : "ℹ️";
  }
  return "❌";
}

std::string verdict_line(const SweepOutcome& sweep) {
  switch (outcome::exit_code(sweep)) {
    case 0: {
      const bool all_ok = std::all_of(sweep.scenarios.begin(), sweep.scenarios.end(),
                                      [](const auto& s) { return s.status == ParityStatus::kOk; });
      return all_ok ? "✅ **Parity** in every scenario (exit code 0)"
                    : "ℹ️ **No reference** for at least one scenario: the subject ran, nothing says it is right "
                      "(exit code 0)";
    }
    case 1:
      return "❌ **Divergence** (exit code 1)";
    case 4:
      return "❌ **An engine failed** (exit code 4)";
    default:
      return "❌ **No verdict possible** (exit code 5)";
  }
}

std::string header(const SweepOutcome& sweep) {
  const bool has_reference = !sweep.reference.kind.empty() && sweep.reference.kind != "none";
  std::string out = "# Cross-Validation Sweep Summary\n\n" + verdict_line(sweep) + "\n\n";
  out += fmt::format("- **Generated:** {} by tern {}, in {:.1f} s\n", markdown_text(sweep.timestamp),
                     markdown_text(sweep.tern_version), sweep.wall_s);
  out += fmt::format("- **Model:** {} ({}, {}; SHA-256 {})\n", markdown_code(sweep.model.path),
                     markdown_text(sweep.model.architecture.empty() ? kNotMeasured : sweep.model.architecture),
                     markdown_text(sweep.model.quant_format.empty() ? kNotMeasured : sweep.model.quant_format),
                     sweep.model.sha256.empty() ? kNotMeasured : markdown_code(sweep.model.sha256));
  out += fmt::format("- **Tokenizer:** {}\n", markdown_code(sweep.tokenizer.path));
  out += "- **Reference:** ";
  if (!has_reference) {
    out += "not available (rust_only)";
  } else {
    out += markdown_code(sweep.reference.spec.empty() ? sweep.reference.kind : sweep.reference.spec);
    out += sweep.reference.engine.empty() ? "" : ", " + markdown_text(sweep.reference.engine);
  }
  out += sweep.reference.note.empty() ? "\n" : ": " + markdown_text(sweep.reference.note) + "\n";
  if (sweep.resumed) {
    out += "- **Resumed:** " + markdown_text(resumption_text(*sweep.resumed)) + "\n";
  }
  return out;
}

std::string results_table(const SweepOutcome& sweep) {
  std::string out =
      "\n## Scenario Results\n\n"
      "| Scenario | Prompt | Tokens | Subject | Token Match | Exact Match Rate | Cosine Similarity | Traces | First "
      "Divergence |\n|---|---|---|---|---|---|---|---|---|\n";
  for (const ScenarioOutcome& scenario : sweep.scenarios) {
    const auto cosine = min_cosine_of(scenario);
    std::string first = kNotMeasured;
    if (scenario.comparison) {
      const auto& c = *scenario.comparison;
      first = !c.tokens.prompt_equal           ? "prompt ids"
              : c.first_divergence             ? markdown_code(c.first_divergence->name(), Place::kTableCell)
              : c.tokens.first_divergence_step ? fmt::format("token {}", *c.tokens.first_divergence_step)
                                               : "none";
    }
    out +=
        fmt::format("| {} | {} | {} | {} | {} `{}` | {} | {} {} | {} | {} |\n", markdown_text(scenario.scenario.name),
                    markdown_code(scenario.scenario.prompt, Place::kTableCell), scenario.scenario.max_tokens,
                    markdown_text(ending_of(scenario.sides.subject.execution)), status_symbol(sweep, scenario),
                    outcome::parity_status_name(scenario.status), figure(exact_match_rate_of(scenario)),
                    cosine_figure(cosine), grade_symbol(grade_of(cosine)), scenario.sides.subject.n_traces, first);
  }
  return out;
}

// A criterion is met if every scenario meets it; one that could not be measured is not met, and says so.
std::string criterion(const SweepOutcome& sweep, std::string_view text,
                      const std::function<std::optional<bool>(const ScenarioOutcome&)>& met) {
  size_t n_met = 0, n_unmeasured = 0;
  for (const ScenarioOutcome& scenario : sweep.scenarios) {
    const std::optional<bool> result = met(scenario);
    n_met += result.value_or(false);
    n_unmeasured += !result.has_value();
  }
  const bool all = n_met == sweep.scenarios.size() && n_met > 0;
  return fmt::format("- [{}] {} ({} of {} scenarios{})\n", all ? "x" : " ", text, n_met, sweep.scenarios.size(),
                     n_unmeasured > 0 ? fmt::format(", {} not measured", n_unmeasured) : "");
}

std::string checklist(const SweepOutcome& sweep) {
  std::string out = "\n## Success Criteria\n\n";
  out += criterion(sweep, "The engines ended well", [&](const ScenarioOutcome& s) -> std::optional<bool> {
    return s.sides.subject.execution.ok() && s.sides.reference.execution.ok() && s.sides.subject.result.has_value();
  });
  out += criterion(sweep, "Token match is `ok`, or `rust_only` where no reference is required",
                   [&](const ScenarioOutcome& s) -> std::optional<bool> { return !needs_attention(sweep, s); });
  out += criterion(sweep, "Exact match rate is 1.0", [](const ScenarioOutcome& s) -> std::optional<bool> {
    const auto rate = exact_match_rate_of(s);
    return rate ? std::optional(*rate >= 1) : std::nullopt;
  });
  out += criterion(sweep, "Cosine similarity is at least 0.99", [](const ScenarioOutcome& s) -> std::optional<bool> {
    const auto cosine = min_cosine_of(s);
    return cosine ? std::optional(*cosine >= 0.99) : std::nullopt;
  });
  out +=
      criterion(sweep, fmt::format("At least {} trace files", kMinTraces),
                [](const ScenarioOutcome& s) -> std::optional<bool> { return s.sides.subject.n_traces >= kMinTraces; });
  out += criterion(sweep, "Every tensor was compared", [](const ScenarioOutcome& s) -> std::optional<bool> {
    if (!s.comparison) {
      return std::nullopt;
    }
    const auto& coverage = s.comparison->coverage;
    return coverage.tensors_expected > 0 && coverage.tensors_compared == coverage.tensors_expected;
  });
  return out;
}

std::string divergence_analysis(const SweepOutcome& sweep) {
  std::string out = "\n## Divergence Detection\n\n";
  for (const ScenarioOutcome& scenario : sweep.scenarios) {
    out += fmt::format("- **{}** `{}`", markdown_text(scenario.scenario.name),
                       outcome::parity_status_name(scenario.status));
    if (scenario.comparison) {
      const auto& c = *scenario.comparison;
      out += fmt::format(": {} of {} tensors compared, {} equal by hash, held to {}", c.coverage.tensors_compared,
                         c.coverage.tensors_expected, c.n_hash_equal, c.exact ? "equal hashes" : "tolerances");
    }
    out += scenario.reason.empty() ? "\n" : ". " + markdown_text(scenario.reason) + "\n";
  }
  return out +
         "\nCosine similarity, the smallest over all compared rows of logits: ✅ at least 0.99, ⚠️ 0.95 to 0.99, "
         "❌ "
         "below "
         "0.95. Tensors are compared in execution order, so the first divergence is where to look.\n";
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

std::string recommendation_list(const SweepOutcome& sweep) {
  // Scenarios often share a recommendation: it is given once, with their names.
  std::vector<std::pair<std::string, std::vector<std::string>>> merged;
  for (const ScenarioOutcome& scenario : sweep.scenarios) {
    for (const std::string& sentence : recommendations(sweep, scenario)) {
      auto it = std::find_if(merged.begin(), merged.end(), [&](const auto& entry) { return entry.first == sentence; });
      if (it == merged.end()) {
        it = merged.insert(merged.end(), {sentence, {}});
      }
      it->second.push_back(markdown_text(scenario.scenario.name));
    }
  }
  std::string out = "\n## Recommendations\n\n";
  for (size_t i = 0; i < merged.size(); ++i) {
    out += fmt::format("{}. {} _({})_\n", i + 1, markdown_text(merged[i].first), fmt::join(merged[i].second, ", "));
  }
  for (const ScenarioOutcome& scenario : sweep.scenarios) {
    if (const std::string repro = repro_line(sweep, scenario); !repro.empty()) {
      const auto compare = compare_command(sweep, scenario);
      out += fmt::format("\nTo run {} again, alone{}:\n\n", markdown_text(scenario.scenario.name),
                         compare.empty() ? "" : ", and to see every tensor of the two runs") +
             fenced(repro + "\n" + (compare.empty() ? "" : shell_line({}, compare) + "\n"));
    }
  }
  if (outcome::exit_code(sweep) != 0 && !sweep.command.empty()) {
    out += "\nTo run the sweep again:\n\n" + fenced(shell_line({}, sweep.command) + "\n");
  }
  return out;
}

std::string directory_structure(const SweepOutcome& sweep) {
  std::string tree = one_line(sweep.output_dir.string()) + "/\n";
  for (const ScenarioOutcome& scenario : sweep.scenarios) {
    tree += fmt::format("├── {}/\n", one_line(scenario.scenario.name));
    tree += fmt::format("│   ├── rs-traces/              {} traces of the subject\n", scenario.sides.subject.n_traces);
    tree += "│   ├── rs-output.txt           the subject's output\n";
    if (scenario.sides.subject.result) {
      tree += "│   ├── rs-run/                 the subject's tokens and logits, for tern compare\n";
    }
    if (reference_left_files(scenario)) {
      tree += fmt::format("│   ├── cpp-traces/             {} traces of the reference\n",
                          scenario.sides.reference.n_traces);
      tree += "│   ├── cpp-output.txt          the reference's output\n";
    }
    if (!scenario.sides.reference.execution.command.empty()) {
      tree += "│   ├── cpp-run/                the reference's tokens and logits\n";
    }
    tree += "│   ├── logits-comparison.json  parity receipt\n";
    tree += "│   └── report.txt\n";
  }
  tree += "├── sweep.json                  everything, for programs\n├── junit.xml\n└── summary.md\n";
  return "\n## Directory Structure\n\n" + fenced(tree);
}

std::string environment(const SweepOutcome& sweep) {
  std::string out = "\n## Environment\n\n| | |\n|---|---|\n";
  for (const auto& [name, value] : sweep.environment) {
    out += fmt::format("| {} | {} |\n", markdown_text(name), markdown_code(value, Place::kTableCell));
  }
  return out + fmt::format("| Time limit for each engine run | {:g} s |\n", sweep.timeout_s);
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

std::string summary_md(const SweepOutcome& sweep) {
  return header(sweep) + results_table(sweep) + checklist(sweep) + divergence_analysis(sweep) +
         recommendation_list(sweep) + directory_structure(sweep) + environment(sweep);
}

}  // namespace tern::report
