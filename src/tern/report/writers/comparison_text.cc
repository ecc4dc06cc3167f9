#include <fmt/format.h>

#include "tern/report/writers/comparison.h"
#include "tern/report/writers/escape.h"
#include "tern/report/writers/text_parts.h"

namespace tern::report {
namespace {

// "label      text"; further lines have no label.
std::string line(std::string_view label, std::string_view text) { return fmt::format("{:<11}{}\n", label, text); }

}  // namespace

std::string comparison_text(const ComparisonView& view) {
  std::string out = line("coverage", view.coverage);
  if (!view.missing.empty()) {
    out += line("", one_line(view.missing));
  }
  if (!view.other_graph.empty()) {
    out += line("", view.other_graph);
  }
  out += line("level", view.level) + line("held to", one_line(view.held_to)) + line("tokens", view.tokens);
  for (size_t i = 0; i < view.logits.size(); ++i) {
    out += line(i == 0 ? "logits" : "", view.logits[i]);
  }
  out += line("tensors", view.tensors);
  if (!view.place.empty()) {
    out += fmt::format("\n{}: {}\n", view.place_title, view.place) + tensor_table(view.neighbours);
    out += view.advice.empty() ? "" : view.advice + "\n";
  }
  const std::string& reason = view.comparison.verdict.reason;
  return out + fmt::format("\nverdict: {}{}{}\n", view.verdict, reason.empty() ? "" : ": ", one_line(reason));
}

}  // namespace tern::report
