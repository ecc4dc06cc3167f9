// <scenario>/report.txt
#include <fmt/format.h>

#include "tern/report/writers/comparison.h"
#include "tern/report/writers/escape.h"
#include "tern/report/writers/text_parts.h"
#include "tern/report/writers/writers.h"

namespace tern::report {
namespace {

// "Title\n-----\n"
std::string heading(std::string_view title) { return fmt::format("\n{}\n{}\n", title, std::string(title.size(), '-')); }

std::string line(const Fact& fact) {
  return fmt::format("{:<24}{}\n", fmt::format("{}:", fact.label), one_line(fact.value));
}

std::string lines(const std::vector<Fact>& facts) {
  std::string out;
  for (const Fact& fact : facts) {
    out += line(fact);
  }
  return out;
}

std::string text_of(const Section& section) {
  return heading(section.title) + lines(section.facts) + (section.note.empty() ? "" : section.note + "\n") +
         (section.table ? "\n" + tensor_table(*section.table) : "") +
         (section.arbitration ? arbitration_text(*section.arbitration) : "");
}

std::string reproduce(const ScenarioView& view) {
  if (!view.needs_attention) {
    return "";
  }
  std::string out = heading("Reproduce");
  for (const Command& command : view.commands) {
    out += command.purpose + ":\n  " + command.line + "\n";
  }
  return out;
}

}  // namespace

std::string report_text(const ScenarioView& view) {
  const std::string rule(80, '=');
  std::string out =
      fmt::format("{}\nCross-Validation Report: {}\n{}\n", rule, one_line(view.scenario.scenario.name), rule);
  out += line({"Result", std::string(view.status)});
  if (!view.scenario.reason.empty()) {
    out += line({"Reason", view.scenario.reason});
  }
  for (const Section& section : view.sections) {
    out += text_of(section);
  }
  out += heading("Recommendations");
  for (size_t i = 0; i < view.recommendations.size(); ++i) {
    out += fmt::format("{}. {}\n", i + 1, one_line(view.recommendations[i]));
  }
  return out + reproduce(view) + heading("Environment") + lines(view.environment);
}

}  // namespace tern::report
