#include "tern/report/view/figures.h"

#include <fmt/format.h>
#include <string.h>

#include "tern/trace/level.h"
#include "tern/trace/run_folder.h"

namespace tern::report {

std::string cosine_figure(const std::optional<double>& cosine) {
  return cosine ? fmt::format("{:.9f}", *cosine) : kNotMeasured;
}

std::string figure(const std::optional<double>& value) { return value ? fmt::format("{:.6g}", *value) : kNotMeasured; }

std::string memory_figure(const std::optional<uint64_t>& n_bytes) {
  return n_bytes ? fmt::format("{:.1f} MB", static_cast<double>(*n_bytes) / 1e6) : kNotMeasured;
}

std::string token_list(const std::optional<trace::RunResult>& result) {
  return result ? fmt::format("[{}]", fmt::join(result->generated_tokens, ", ")) : kNotMeasured;
}

Grade grade_of(const std::optional<double>& cosine, const compare::CosineGrades& limits) {
  if (!cosine) {
    return Grade::kNone;
  }
  return *cosine >= limits.green ? Grade::kGreen : *cosine >= limits.yellow ? Grade::kYellow : Grade::kRed;
}

std::string_view grade_words(Grade grade) {
  switch (grade) {
    case Grade::kNone:
      return "not measured";
    case Grade::kGreen:
      return "green: excellent parity";
    case Grade::kYellow:
      return "yellow: minor divergence";
    case Grade::kRed:
      return "red: significant divergence";
  }
  return "?";
}

std::string signal_name(int signal) {
  const char* abbreviation = sigabbrev_np(signal);
  return abbreviation != nullptr ? std::string("SIG") + abbreviation : "signal " + std::to_string(signal);
}

std::string ending_of(const outcome::Execution& execution) {
  if (execution.timed_out) {
    return fmt::format("timed out after {:g} s", execution.timeout_s);
  }
  if (execution.ended_at_difference) {
    return fmt::format("ended after {:.2f} s, at the first difference", execution.wall_s);
  }
  if (execution.signal) {
    return fmt::format("killed by {} after {:.2f} s", signal_name(*execution.signal), execution.wall_s);
  }
  if (execution.exit_code) {
    return fmt::format("exit code {} after {:.2f} s", *execution.exit_code, execution.wall_s);
  }
  return execution.command.empty() ? "no process" : "not started";
}

std::string level_text(const compare::RunComparison& comparison) {
  return fmt::format("{} ({})", trace::level_name(comparison.level), comparison.level_reason);
}

}  // namespace tern::report
