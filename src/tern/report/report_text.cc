#include <fmt/format.h>

#include "tern/report/format.h"
#include "tern/report/recommendations.h"
#include "tern/report/report.h"

namespace tern::report {
namespace {

using compare::RunComparison;
using outcome::ScenarioOutcome;
using outcome::SweepOutcome;

// "Title\n-----\n"
std::string heading(std::string_view title) { return fmt::format("\n{}\n{}\n", title, std::string(title.size(), '-')); }

std::string line(std::string_view label, std::string_view value) {
  return fmt::format("{:<24}{}\n", fmt::format("{}:", label), one_line(value));
}

std::string quantization(const outcome::ModelFacts& model) {
  std::string out = model.quant_format.empty() ? kNotMeasured : model.quant_format;
  return model.quant_flavor.empty() ? out : out + " (" + model.quant_flavor + ")";
}

std::string variable(const SweepOutcome& sweep, const ScenarioOutcome& scenario, const char* name) {
  for (const auto* environment : {&scenario.sides.subject.execution.environment, &sweep.environment}) {
    if (const auto it = environment->find(name); it != environment->end()) {
      return it->second;
    }
  }
  return kNotMeasured;
}

std::string configuration(const SweepOutcome& sweep, const ScenarioOutcome& scenario) {
  return heading("Test Configuration") + line("Description", scenario.scenario.description) +
         line("Prompt", "\"" + scenario.scenario.prompt + "\"") +
         line("Max tokens", std::to_string(scenario.scenario.max_tokens)) + line("Model", sweep.model.path) +
         line("Model SHA-256", sweep.model.sha256.empty() ? kNotMeasured : sweep.model.sha256) +
         line("Architecture", sweep.model.architecture.empty() ? kNotMeasured : sweep.model.architecture) +
         line("Weights", quantization(sweep.model)) +
         line("Tokenizer", fmt::format("{} ({} entries)", sweep.tokenizer.path, sweep.tokenizer.vocab_size)) +
         line("Reference", sweep.reference.kind.empty() || sweep.reference.kind == "none"
                               ? "none" + (sweep.reference.note.empty() ? "" : " (" + sweep.reference.note + ")")
                               : sweep.reference.spec) +
         (sweep.reference.kind == "none" || sweep.reference.note.empty()
              ? std::string()
              : line("Reference note", sweep.reference.note)) +
         line("Temperature", "0.0 (greedy)") + line("Seed", variable(sweep, scenario, "BITNET_SEED")) +
         line("Threads", variable(sweep, scenario, "RAYON_NUM_THREADS")) +
         line("Time limit", fmt::format("{:g} s for each engine", sweep.timeout_s));
}

std::string side(const std::string& prefix, const outcome::SideOutcome& side) {
  const auto& [execution, result, n_traces] = side;
  std::string out = line(prefix, result && !result->engine.empty() ? result->engine : kNotMeasured);
  out += line(prefix + " ended",
              execution.command.empty() && result ? "a recording: nothing was run" : ending_of(execution));
  out += line(prefix + " traces", fmt::format("{} tensors", n_traces));
  if (!execution.command.empty()) {
    out += line(prefix + " memory", memory_figure(execution.peak_rss_bytes));
  }
  if (!execution.failure.empty()) {
    out += line(prefix + " failure", execution.failure);
  }
  if (execution.last_tensor) {
    out += line(prefix + " reached", *execution.last_tensor);
  }
  return out;
}

std::string execution_summary(const SweepOutcome& sweep, const ScenarioOutcome& scenario) {
  std::string out = heading("Execution Summary");
  out += side("Subject", scenario.sides.subject);
  out += line("Reference available", reference_was_there(sweep, scenario) ? "yes" : "no");
  if (reference_was_there(sweep, scenario)) {
    out += side("Reference", scenario.sides.reference);
  }
  return out;
}

std::string output_comparison(const ScenarioOutcome& scenario) {
  const auto* tokens = tokens_of(scenario);
  // A recording need not hold its text; its tokens are what counts.
  const auto text = [](const auto& result) {
    return result && !result->text.empty() ? "\"" + result->text + "\"" : std::string(kNotMeasured);
  };
  return heading("Output Comparison") + line("Token match", outcome::parity_status_name(scenario.status)) +
         line("Prompt ids", tokens == nullptr      ? kNotMeasured
                            : tokens->prompt_equal ? "equal"
                                                   : "different (tokenizers disagree)") +
         line("Subject tokens", token_list(scenario.sides.subject.result)) +
         line("Reference tokens", token_list(scenario.sides.reference.result)) +
         line("Subject text", text(scenario.sides.subject.result)) +
         line("Reference text", text(scenario.sides.reference.result));
}

std::string parity_metrics(const ScenarioOutcome& scenario) {
  const auto cosine = min_cosine_of(scenario);
  const auto* tokens = tokens_of(scenario);
  const auto rate = exact_match_rate_of(scenario);
  std::string out = heading("Parity Metrics");
  out += line("Cosine similarity", cosine ? fmt::format("{} smallest over the rows of logits ({})",
                                                        cosine_figure(cosine), grade_words(grade_of(cosine)))
                                          : kNotMeasured);
  out += line("Cosine mean", cosine_figure(mean_cosine_of(scenario)));
  out += line(
      "Exact match rate",
      rate ? fmt::format("{} ({} of {} tokens)", figure(rate), tokens->n_equal, tokens->n_expected()) : kNotMeasured);
  out += line("First divergence", tokens == nullptr       ? kNotMeasured
                                  : !tokens->prompt_equal ? "in the prompt's token ids"
                                  : tokens->first_divergence_step
                                      ? fmt::format("generated token {}", *tokens->first_divergence_step)
                                      : "none in the generated tokens");
  if (scenario.comparison) {
    const compare::Coverage& coverage = scenario.comparison->coverage;
    out += line("Compared", fmt::format("{} of {} tensors ({} of {} stages), {} of {} tokens, {} of {} rows of logits",
                                        coverage.tensors_compared, coverage.tensors_expected, coverage.stages_compared,
                                        coverage.stages_expected, coverage.tokens_compared, coverage.tokens_expected,
                                        coverage.positions_compared, coverage.positions_expected));
    if (scenario.comparison->free_running) {
      const compare::TokenComparison& taught = scenario.comparison->tokens;
      out += line("Teacher forcing", fmt::format("fed the reference's tokens, the subject chooses {} of {} as it does; "
                                                 "logits and tensors are compared there",
                                                 taught.n_equal, taught.n_compared));
    }
  }
  return out;
}

std::string trace_analysis(const ScenarioOutcome& scenario) {
  std::string out = heading("Trace Analysis");
  if (!scenario.comparison) {
    return out + line("First diverging trace", kNotMeasured) + "Nothing was there to compare with.\n";
  }
  const RunComparison& c = *scenario.comparison;
  out += line("Held to", fmt::format("{} ({})", c.exact ? "equal hashes" : "tolerances", c.exact_reason));
  out += line("Equal by BLAKE3", fmt::format("{} of {} tensors", c.n_hash_equal, c.coverage.tensors_expected));
  out += line("First bit difference", c.first_hash_difference ? c.first_hash_difference->name() : "none");
  if (const auto& seen = scenario.seen_while_running) {
    out += line("Seen while running", fmt::format("{}, {:.2f} s after the {} was started", seen->id.name(),
                                                  seen->after_s, compare::side_name(seen->side)));
  }
  if (!c.first_divergence) {
    return out + line("First diverging trace", c.tokens.prompt_equal ? "none" : kNotMeasured);
  }
  out += line("First diverging trace",
              fmt::format("{} ({})", c.first_divergence->name(), compare::place_of(*c.first_divergence)));
  out += line("Trace file", (scenario.folder / "rs-traces" / trace::trace_file_name(*c.first_divergence)).string());
  return out + "\n" + tensor_rows(c, *c.first_divergence);
}

std::string third_opinion(const SweepOutcome& sweep, const ScenarioOutcome& scenario) {
  std::string out = heading("Third Opinion");
  if (sweep.reference_check) {
    const auto* failed = sweep.reference_check->first_failed();
    out += line("Reference check",
                failed != nullptr ? fmt::format("failed: {} {}", failed->question, failed->evidence) : "passed");
  }
  if (!scenario.arbitration) {
    return out +
           line("Oracle", scenario.no_arbitration.empty() ? "not asked" : "not asked: " + scenario.no_arbitration);
  }
  return out + arbitration_text(*scenario.arbitration, scenario.cause);
}

std::string file_locations(const SweepOutcome& sweep, const ScenarioOutcome& scenario) {
  const auto& folder = scenario.folder;
  std::string out = heading("File Locations") + line("Subject output", (folder / "rs-output.txt").string()) +
                    line("Subject traces", (folder / "rs-traces").string());
  out += scenario.sides.subject.result ? line("Subject run", (folder / "rs-run").string()) : "";
  if (reference_left_files(scenario)) {
    out += line("Reference output", (folder / "cpp-output.txt").string()) +
           line("Reference traces", (folder / "cpp-traces").string());
    out +=
        scenario.sides.reference.execution.command.empty() ? "" : line("Reference run", (folder / "cpp-run").string());
  }
  return out + line("Parity receipt", (folder / "logits-comparison.json").string()) +
         line("This report", (folder / "report.txt").string()) +
         line("Summary", (sweep.output_dir / "summary.md").string());
}

std::string reproduce(const SweepOutcome& sweep, const ScenarioOutcome& scenario) {
  if (!needs_attention(sweep, scenario)) {
    return "";
  }
  std::string out = heading("Reproduce");
  if (const std::string repro = repro_line(sweep, scenario); !repro.empty()) {
    out += "This scenario alone, into a folder of its own:\n  " + repro + "\n";
  }
  if (!scenario.sides.subject.execution.command.empty()) {
    out += "The subject's run alone:\n  " +
           shell_line(scenario.sides.subject.execution.environment, scenario.sides.subject.execution.command) + "\n";
  }
  if (!scenario.sides.reference.execution.command.empty()) {
    out += "The reference's run alone:\n  " +
           shell_line(scenario.sides.reference.execution.environment, scenario.sides.reference.execution.command) +
           "\n";
  }
  if (const auto command = compare_command(sweep, scenario); !command.empty()) {
    out += "Every tensor of both sides:\n  " + shell_line({}, command) + "\n";
  }
  return out;
}

}  // namespace

std::string report_text(const SweepOutcome& sweep, const ScenarioOutcome& scenario) {
  const std::string rule(80, '=');
  std::string out = fmt::format("{}\nCross-Validation Report: {}\n{}\n", rule, one_line(scenario.scenario.name), rule);
  out += line("Result", outcome::parity_status_name(scenario.status));
  if (!scenario.reason.empty()) {
    out += line("Reason", scenario.reason);
  }
  out += configuration(sweep, scenario) + execution_summary(sweep, scenario) + output_comparison(scenario) +
         parity_metrics(scenario) + trace_analysis(scenario) + third_opinion(sweep, scenario) +
         file_locations(sweep, scenario);
  out += heading("Recommendations");
  int number = 0;
  for (const std::string& sentence : recommendations(sweep, scenario)) {
    out += fmt::format("{}. {}\n", ++number, one_line(sentence));
  }
  out += reproduce(sweep, scenario);
  out += heading("Environment");
  for (const auto& [name, value] : sweep.environment) {
    out += line(name, value);
  }
  return out + line("tern", sweep.tern_version) + line("Started", sweep.timestamp);
}

}  // namespace tern::report
