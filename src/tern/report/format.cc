#include "tern/report/format.h"

#include <fmt/format.h>
#include <string.h>

#include <algorithm>
#include <cctype>

#include "tern/base/json.h"
#include "tern/report/report.h"

namespace tern::report {
namespace {

bool is_plain_in_shell(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("_-+=:,./@%").find(c) != std::string_view::npos;
}

// Whether the text is the same after it went through a terminal, an editor, JSON and XML (which has no U+FFFE, U+FFFF).
bool can_be_shown(std::string_view text) {
  const auto read_back = parse_json(to_json_line(Json(text)), "");
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return std::iscntrl(static_cast<unsigned char>(c)) != 0; }) &&
         text.find("\xEF\xBF\xBE") == std::string_view::npos && text.find("\xEF\xBF\xBF") == std::string_view::npos &&
         read_back && read_back->get<std::string>() == text;
}

std::string shell_word(std::string_view word) {
  if (!word.empty() && std::all_of(word.begin(), word.end(), is_plain_in_shell)) {
    return std::string(word);
  }
  std::string out;
  if (can_be_shown(word)) {
    for (const char c : word) {
      out += c == '\'' ? "'\\''" : std::string(1, c);
    }
    return "'" + out + "'";
  }
  // $(...) takes line feeds off the end, so they follow it as they are.
  const std::string_view last_lines = word.substr(word.find_last_not_of('\n') + 1);
  for (const char c : word.substr(0, word.size() - last_lines.size())) {
    out +=
        c != '%' && is_plain_in_shell(c) ? std::string(1, c) : fmt::format("\\{:03o}", static_cast<unsigned char>(c));
  }
  return "\"$(printf '" + out + "')\"" + (last_lines.empty() ? "" : fmt::format("'{}'", last_lines));
}

}  // namespace

std::string cosine_figure(const std::optional<double>& cosine) {
  return cosine ? fmt::format("{:.9f}", *cosine) : kNotMeasured;
}

std::string figure(const std::optional<double>& value) { return value ? fmt::format("{:.6g}", *value) : kNotMeasured; }

std::string count_figure(const std::optional<size_t>& value) { return value ? std::to_string(*value) : kNotMeasured; }

std::string memory_figure(const std::optional<uint64_t>& n_bytes) {
  return n_bytes ? fmt::format("{:.1f} MB", static_cast<double>(*n_bytes) / 1e6) : kNotMeasured;
}

std::string token_list(const std::optional<trace::RunResult>& result) {
  return result ? fmt::format("[{}]", fmt::join(result->generated_tokens, ", ")) : kNotMeasured;
}

Grade grade_of(const std::optional<double>& cosine) {
  if (!cosine) {
    return Grade::kNone;
  }
  return *cosine >= 0.99 ? Grade::kGreen : *cosine >= 0.95 ? Grade::kYellow : Grade::kRed;
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

std::string_view grade_symbol(Grade grade) {
  switch (grade) {
    case Grade::kNone:
      return "";
    case Grade::kGreen:
      return "✅";
    case Grade::kYellow:
      return "⚠️";
    case Grade::kRed:
      return "❌";
  }
  return "?";
}

std::string one_line(std::string_view text) {
  constexpr size_t kMaxBytes = 2000;
  // Through JSON and back: the writer replaces what is not UTF-8.
  const auto valid = parse_json(to_json_line(Json(printable(text, kMaxBytes))), "");
  return valid ? valid->get<std::string>() : std::string();
}

std::string markdown_text(std::string_view text) {
  const std::string line = one_line(text);
  const auto is_word = [&line](size_t i) {
    return i < line.size() && std::isalnum(static_cast<unsigned char>(line[i])) != 0;
  };
  std::string out;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    const bool inside_a_word = c == '_' && i > 0 && is_word(i - 1) && is_word(i + 1);
    const bool leading = i == 0 && (c == '#' || c == '-' || c == '+' || c == '=');
    if (leading || (!inside_a_word && std::string_view("&<>`*_[]|\\~$").find(c) != std::string_view::npos)) {
      out += fmt::format("&#{};", static_cast<int>(c));
    } else {
      out += c;
    }
  }
  return out;
}

std::string markdown_code(std::string_view text, Place where) {
  const std::string line = one_line(text);
  size_t longest = 0;
  for (size_t i = 0, run = 0; i < line.size(); ++i) {
    run = line[i] == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  const std::string fence(longest + 1, '`');
  // CommonMark strips one space on both sides, so padding protects backticks and spaces at the ends.
  const bool pad =
      line.empty() || line.front() == '`' || line.back() == '`' || (line.front() == ' ' && line.back() == ' ');
  std::string body;
  for (const char c : line) {
    body += c == '|' && where == Place::kTableCell ? "\\|" : std::string(1, c);
  }
  return pad ? fence + " " + body + " " + fence : fence + body + fence;
}

std::string shell_line(const std::map<std::string, std::string>& environment, const std::vector<std::string>& command) {
  std::string out;
  for (const auto& [name, value] : environment) {
    out += name + "=" + shell_word(value) + " ";
  }
  for (const std::string& word : command) {
    out += shell_word(word) + " ";
  }
  if (!out.empty()) {
    out.pop_back();
  }
  return out;
}

std::string repro_line(const outcome::SweepOutcome& sweep, const outcome::ScenarioOutcome& scenario) {
  const outcome::ReproCommand& repro = sweep.repro;
  if (!needs_attention(sweep, scenario) || repro.command.empty()) {
    return {};
  }
  const std::string& name = scenario.scenario.name;
  outcome::ReproCommand alone = repro;
  alone.command.insert(alone.command.end(),
                       {fmt::format("{}-{}-repro", repro.output_dir.string(), name), "--only", name});
  return shell_line(alone);
}

std::string shell_line(const outcome::ReproCommand& repro) {
  const std::string line = shell_line(repro.environment, repro.command);
  return repro.working_dir.empty() ? line : fmt::format("(cd {} && {})", shell_word(repro.working_dir.string()), line);
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

std::vector<std::string> compare_command(const outcome::SweepOutcome& sweep, const outcome::ScenarioOutcome& scenario) {
  if (!scenario.sides.subject.result || !scenario.sides.reference.result) {
    return {};
  }
  // A pack is its own record; an engine's run was kept beside the subject's (sweep/sweep.h).
  constexpr std::string_view kPack = "pack:";
  const std::string& spec = sweep.reference.spec;
  const std::string reference =
      spec.starts_with(kPack) ? spec.substr(kPack.size()) : (scenario.folder / "cpp-run").string();
  const std::string tern = sweep.command.empty() ? "tern" : sweep.command.front();
  return {tern, "compare", (scenario.folder / "rs-run").string(), reference};
}

const compare::TokenComparison* tokens_of(const outcome::ScenarioOutcome& scenario) {
  if (!scenario.comparison) {
    return nullptr;
  }
  const auto& free_running = scenario.comparison->free_running;
  return free_running ? &*free_running : &scenario.comparison->tokens;
}

std::optional<double> min_cosine_of(const outcome::ScenarioOutcome& scenario) {
  return scenario.comparison && scenario.comparison->logits ? scenario.comparison->logits->min_cosine : std::nullopt;
}

std::optional<double> mean_cosine_of(const outcome::ScenarioOutcome& scenario) {
  return scenario.comparison && scenario.comparison->logits ? scenario.comparison->logits->mean_cosine : std::nullopt;
}

std::optional<double> exact_match_rate_of(const outcome::ScenarioOutcome& scenario) {
  const compare::TokenComparison* tokens = tokens_of(scenario);
  return tokens != nullptr ? tokens->exact_match_rate : std::nullopt;
}

bool reference_was_there(const outcome::SweepOutcome& sweep, const outcome::ScenarioOutcome& scenario) {
  return !sweep.reference.kind.empty() && sweep.reference.kind != "none" &&
         scenario.status != outcome::ParityStatus::kRustOnly;
}

bool reference_left_files(const outcome::ScenarioOutcome& scenario) {
  return scenario.sides.reference.result.has_value() || !scenario.sides.reference.execution.command.empty();
}

bool needs_attention(const outcome::SweepOutcome& sweep, const outcome::ScenarioOutcome& scenario) {
  const bool permitted = scenario.status == outcome::ParityStatus::kRustOnly && !sweep.reference_required;
  return scenario.status != outcome::ParityStatus::kOk && !permitted;
}

}  // namespace tern::report
