// How figures are written, the same in every report.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tern/compare/compare_runs.h"
#include "tern/outcome/execution.h"
#include "tern/trace/run_folder.h"

namespace tern::report {

inline constexpr const char* kNotMeasured = "n/a";

// "0.998712345", or n/a.
std::string cosine_figure(const std::optional<double>& cosine);
// Six significant digits, or n/a.
std::string figure(const std::optional<double>& value);
// "12.3 MB", or n/a.
std::string memory_figure(const std::optional<uint64_t>& n_bytes);
// "[1, 2, 3]", or n/a.
std::string token_list(const std::optional<trace::RunResult>& result);

// The colors of docs/validation-framework.md; kNone where there is no figure. Green is what the verdict demands.
enum class Grade { kNone, kGreen, kYellow, kRed };
Grade grade_of(const std::optional<double>& cosine, const compare::CosineGrades& limits);
std::string_view grade_words(Grade grade);  // "green: excellent parity"

// "exit code 0 after 1.20 s", "killed by SIGSEGV after 1.20 s", "timed out after 180 s", ...
std::string ending_of(const outcome::Execution& execution);
// "SIGSEGV"
std::string signal_name(int signal);

// What must be compared for a pass, and why that: "tensors (the default)".
std::string level_text(const compare::RunComparison& comparison);

}  // namespace tern::report
