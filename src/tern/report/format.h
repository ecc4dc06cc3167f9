// How figures and text from outside are written, the same in every report. Private to report/.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tern/compare/compare_runs.h"
#include "tern/outcome/sweep_outcome.h"

namespace tern::report {

inline constexpr const char* kNotMeasured = "n/a";

// "0.998712345", or n/a.
std::string cosine_figure(const std::optional<double>& cosine);
// Six significant digits, or n/a.
std::string figure(const std::optional<double>& value);
std::string count_figure(const std::optional<size_t>& value);
// "12.3 MB", or n/a.
std::string memory_figure(const std::optional<uint64_t>& n_bytes);
// "[1, 2, 3]", or n/a.
std::string token_list(const std::optional<trace::RunResult>& result);

// The mission's colors: green from 0.99, yellow from 0.95, red below; kNone where there is no figure.
enum class Grade { kNone, kGreen, kYellow, kRed };
Grade grade_of(const std::optional<double>& cosine);
std::string_view grade_words(Grade grade);   // "green: excellent parity"
std::string_view grade_symbol(Grade grade);  // one emoji; empty for kNone

// One line of valid UTF-8 without control characters, cut to 2000 bytes.
std::string one_line(std::string_view text);
// One line of running text in which nothing is Markdown markup, table cells included.
std::string markdown_text(std::string_view text);
// One line as a code span. In a table, pipes need an escape that would show up elsewhere.
enum class Place { kText, kTableCell };
std::string markdown_code(std::string_view text, Place where = Place::kText);

// A line to paste into a shell: variables, then the command; quoted so that any POSIX shell reads the words again.
std::string shell_line(const std::map<std::string, std::string>& environment, const std::vector<std::string>& command);

// A table of the tensors around `around` in execution order, which is marked; empty if the comparison lacks it.
std::string tensor_rows(const compare::RunComparison& comparison, const trace::TensorId& around);

// "exit code 0", "killed by SIGSEGV after 1.2 s", "timed out after 180 s", "not run", ...
std::string ending_of(const outcome::Execution& execution);
// "SIGSEGV"
std::string signal_name(int signal);

// The `tern compare` that looks at this scenario's two runs again; empty where there are not two.
std::vector<std::string> compare_command(const outcome::SweepOutcome& sweep, const outcome::ScenarioOutcome& scenario);

// Short-cuts through the optionals; absent where not measured.
const compare::TokenComparison* tokens_of(const outcome::ScenarioOutcome& scenario);
std::optional<double> min_cosine_of(const outcome::ScenarioOutcome& scenario);
std::optional<double> mean_cosine_of(const outcome::ScenarioOutcome& scenario);
std::optional<double> exact_match_rate_of(const outcome::ScenarioOutcome& scenario);
// True if there was a reference for this scenario, whether or not it did its work.
bool reference_was_there(const outcome::SweepOutcome& sweep, const outcome::ScenarioOutcome& scenario);
// True if the reference left files of its own beside the subject's.
bool reference_left_files(const outcome::ScenarioOutcome& scenario);
// True where somebody has to do something: not ok, and not a permitted rust_only.
bool needs_attention(const outcome::SweepOutcome& sweep, const outcome::ScenarioOutcome& scenario);

}  // namespace tern::report
