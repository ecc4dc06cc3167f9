// Text from outside (prompts, file names, engine names, messages), made harmless in the format that it goes into.
#pragma once

#include <string>
#include <string_view>

#include "tern/report/view/view.h"

namespace tern::report {

// One line of valid UTF-8 without control characters, cut to 2000 bytes.
std::string one_line(std::string_view text);
// One line of running text in which nothing is Markdown markup, table cells included.
std::string markdown_text(std::string_view text);
// One line as a code span. In a table, pipes need an escape that would show up elsewhere.
enum class Place { kText, kTableCell };
std::string markdown_code(std::string_view text, Place where = Place::kText);
// Running text with code spans.
std::string markdown(const Spans& spans, Place where = Place::kText);

}  // namespace tern::report
