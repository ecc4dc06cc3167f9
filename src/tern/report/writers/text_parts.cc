#include "tern/report/writers/text_parts.h"

#include <fmt/format.h>

#include <vector>

#include "tern/report/writers/comparison.h"
#include "tern/report/writers/escape.h"

namespace tern::report {
namespace {

// The first column is of names, and aligned to the left; `widths` are those of the others, 0 for one of words.
std::string aligned(char mark, const std::vector<std::string>& cells, const std::vector<int>& widths) {
  std::string out = fmt::format("{} {:<28}", mark, cells.front());
  for (size_t i = 1; i < cells.size(); ++i) {
    const int width = widths[i - 1];
    out += width > 0 ? fmt::format(" {:>{}}", cells[i], width) : "  " + cells[i];
  }
  return out + "\n";
}

std::string aligned_table(const MarkedTable& table, char mark, const std::vector<int>& widths) {
  if (table.rows.empty()) {
    return {};
  }
  std::string out = aligned(' ', table.columns, widths);
  for (const MarkedRow& row : table.rows) {
    out += aligned(row.marked ? mark : ' ', row.cells, widths);
  }
  return out;
}

}  // namespace

std::string tensor_table(const MarkedTable& table) { return aligned_table(table, '>', {12, 12, 12, 12, 12, 0}); }

std::string arbitration_text(const ArbitrationView& view) {
  std::string out = fmt::format("wrong      {}\n           {}\n", compare::wrong_name(view.arbitration.wrong()),
                                one_line(view.arbitration.reason));
  if (view.cause) {
    out += fmt::format("cause      {}\nevidence   {}\n", one_line(view.cause_line), one_line(view.cause->evidence));
  }
  if (!view.unexplained.empty()) {
    out += fmt::format("left wrong {}, which the cause does not explain\n", one_line(view.unexplained));
  }
  for (const Ranking& ranking : view.rankings) {
    out += ranking.title + "\n" + aligned_table(ranking.table, '!', {12, 12, 10});
  }
  if (!view.no_same_inputs.empty()) {
    out += fmt::format("both sides on the same inputs: not measured: {}\n", one_line(view.no_same_inputs));
  }
  return out + aligned_table(view.neighbours, '>', {12, 12, 18});
}

}  // namespace tern::report
