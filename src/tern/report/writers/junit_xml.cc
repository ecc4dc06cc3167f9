// <output_dir>/junit.xml: a test case per scenario.
#include <fmt/format.h>

#include <pugixml.hpp>
#include <sstream>

#include "tern/report/writers/escape.h"
#include "tern/report/writers/writers.h"

namespace tern::report {
namespace {

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

// Null for a pass.
const char* outcome_element(TestResult result) {
  switch (result) {
    case TestResult::kPassed:
      return nullptr;
    case TestResult::kSkipped:
      return "skipped";
    case TestResult::kFailed:
      return "failure";
    case TestResult::kError:
      return "error";
  }
  return "error";
}

void add_case(pugi::xml_node suite, const ScenarioView& view) {
  pugi::xml_node node = suite.append_child("testcase");
  node.append_attribute("classname") = "tern.sweep";
  node.append_attribute("name") = xml_text(view.scenario.scenario.name).c_str();
  node.append_attribute("time") = fmt::format("{:.3f}", view.seconds).c_str();
  if (const char* element = outcome_element(view.test_result)) {
    pugi::xml_node outcome = node.append_child(element);
    outcome.append_attribute("message") = xml_text(view.scenario.reason).c_str();
    outcome.append_attribute("type") = std::string(view.status).c_str();
    std::string text;
    for (const std::string& sentence : view.recommendations) {
      text += xml_text(sentence) + "\n";
    }
    if (!view.repro.empty()) {
      text += "To reproduce: " + view.repro + "\n";
    }
    outcome.text() = text.c_str();
  }
  const std::string facts = fmt::format(
      "prompt {}, max_tokens {}, cosine {}, exact match rate {}, traces {}, first divergence {}{}{}",
      xml_text(view.scenario.scenario.prompt), view.scenario.scenario.max_tokens, cosine_figure(view.min_cosine),
      figure(view.exact_match_rate), view.scenario.sides.subject.n_traces, xml_text(view.first_divergence_cell.text),
      view.compared.empty() ? "" : ", ", xml_text(view.compared));
  node.append_child("system-out").text() = facts.c_str();
}

}  // namespace

std::string junit_xml(const SweepView& view) {
  pugi::xml_document document;
  pugi::xml_node declaration = document.append_child(pugi::node_declaration);
  declaration.append_attribute("version") = "1.0";
  declaration.append_attribute("encoding") = "UTF-8";
  pugi::xml_node suites = document.append_child("testsuites");
  pugi::xml_node suite = suites.append_child("testsuite");
  suite.append_attribute("name") = "tern sweep";
  suite.append_attribute("timestamp") = xml_text(view.sweep.timestamp).c_str();
  suite.append_attribute("time") = fmt::format("{:.3f}", view.sweep.wall_s).c_str();
  suite.append_attribute("tests") = std::to_string(view.scenarios.size()).c_str();
  suite.append_attribute("failures") = std::to_string(view.n_failed).c_str();
  suite.append_attribute("errors") = std::to_string(view.n_errors).c_str();
  suite.append_attribute("skipped") = std::to_string(view.n_skipped).c_str();
  for (const ScenarioView& scenario : view.scenarios) {
    add_case(suite, scenario);
  }
  std::ostringstream out;
  document.save(out, "  ");
  return out.str();
}

}  // namespace tern::report
