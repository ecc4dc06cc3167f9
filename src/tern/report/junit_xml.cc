#include <fmt/format.h>

#include <algorithm>
#include <pugixml.hpp>
#include <sstream>

#include "tern/report/format.h"
#include "tern/report/recommendations.h"
#include "tern/report/report.h"

namespace tern::report {
namespace {

using outcome::ParityStatus;
using outcome::ScenarioOutcome;
using outcome::SweepOutcome;

// pugixml escapes markup; what is left is that XML has no U+FFFE and U+FFFF at all, not even escaped.
std::string xml_text(std::string_view text) {
  std::string out = one_line(text);
  for (const std::string_view forbidden : {"\xEF\xBF\xBE", "\xEF\xBF\xBF"}) {
    for (size_t at = out.find(forbidden); at != std::string::npos; at = out.find(forbidden, at)) {
      out.replace(at, forbidden.size(), "\xEF\xBF\xBD");
    }
  }
  return out;
}

// "failure", "error", "skipped", or nullptr for a pass.
const char* outcome_element(const SweepOutcome& sweep, const ScenarioOutcome& scenario) {
  switch (scenario.status) {
    case ParityStatus::kOk:
      return nullptr;
    case ParityStatus::kRustOnly:
      return sweep.reference_required ? "error" : "skipped";
    case ParityStatus::kDiverged:
      return "failure";
    case ParityStatus::kReferenceFailed:
    case ParityStatus::kMistrusted:
    case ParityStatus::kSubjectFailed:
      return "error";
  }
  return "error";
}

size_t count_of(const SweepOutcome& sweep, std::string_view element) {
  return static_cast<size_t>(std::count_if(sweep.scenarios.begin(), sweep.scenarios.end(), [&](const auto& scenario) {
    const char* of_this = outcome_element(sweep, scenario);
    return of_this != nullptr && element == of_this;
  }));
}

double seconds_of(const ScenarioOutcome& scenario) {
  return scenario.sides.subject.execution.wall_s + scenario.sides.reference.execution.wall_s;
}

void add_case(pugi::xml_node suite, const SweepOutcome& sweep, const ScenarioOutcome& scenario) {
  pugi::xml_node node = suite.append_child("testcase");
  node.append_attribute("classname") = "tern.sweep";
  node.append_attribute("name") = xml_text(scenario.scenario.name).c_str();
  node.append_attribute("time") = fmt::format("{:.3f}", seconds_of(scenario)).c_str();
  if (const char* element = outcome_element(sweep, scenario)) {
    pugi::xml_node outcome = node.append_child(element);
    outcome.append_attribute("message") = xml_text(scenario.reason).c_str();
    outcome.append_attribute("type") = std::string(outcome::parity_status_name(scenario.status)).c_str();
    std::string text;
    for (const std::string& sentence : recommendations(sweep, scenario)) {
      text += xml_text(sentence) + "\n";
    }
    if (const std::string repro = repro_line(sweep, scenario); !repro.empty()) {
      text += "To reproduce: " + repro + "\n";
    }
    outcome.text() = text.c_str();
  }
  const std::string facts = fmt::format("prompt {}, max_tokens {}, cosine {}, exact match rate {}, traces {}",
                                        xml_text(scenario.scenario.prompt), scenario.scenario.max_tokens,
                                        cosine_figure(min_cosine_of(scenario)), figure(exact_match_rate_of(scenario)),
                                        scenario.sides.subject.n_traces);
  node.append_child("system-out").text() = facts.c_str();
}

}  // namespace

std::string junit_xml(const SweepOutcome& sweep) {
  pugi::xml_document document;
  pugi::xml_node declaration = document.append_child(pugi::node_declaration);
  declaration.append_attribute("version") = "1.0";
  declaration.append_attribute("encoding") = "UTF-8";
  pugi::xml_node suites = document.append_child("testsuites");
  pugi::xml_node suite = suites.append_child("testsuite");
  suite.append_attribute("name") = "tern sweep";
  suite.append_attribute("timestamp") = xml_text(sweep.timestamp).c_str();
  suite.append_attribute("time") = fmt::format("{:.3f}", sweep.wall_s).c_str();
  suite.append_attribute("tests") = std::to_string(sweep.scenarios.size()).c_str();
  suite.append_attribute("failures") = std::to_string(count_of(sweep, "failure")).c_str();
  suite.append_attribute("errors") = std::to_string(count_of(sweep, "error")).c_str();
  suite.append_attribute("skipped") = std::to_string(count_of(sweep, "skipped")).c_str();
  for (const ScenarioOutcome& scenario : sweep.scenarios) {
    add_case(suite, sweep, scenario);
  }
  std::ostringstream out;
  document.save(out, "  ");
  return out.str();
}

}  // namespace tern::report
