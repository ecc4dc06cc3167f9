#include "tern/app/validate.h"

#include <fmt/format.h>

#include <algorithm>

#include "tern/app/opened_model.h"
#include "tern/app/probe_text.h"
#include "tern/base/child_process.h"
#include "tern/base/environment.h"
#include "tern/peer/peer.h"
#include "tern/sweep/environment.h"
#include "tern/weight_checks/weight_checks.h"

namespace tern::app {
namespace {

bool is_norm(const weight_checks::WeightFinding& finding) { return finding.tensor.find("norm") != std::string::npos; }

std::string problem_line(const weight_checks::WeightFinding& finding) {
  const std::string name = finding.tensor.empty() ? "the file" : printable(finding.tensor);
  std::string line = fmt::format("{}: {} is {:.6g}", name, finding.statistic, finding.value);
  if (finding.envelope) {
    line += fmt::format(", outside of [{:g}, {:g}]", finding.envelope->low, finding.envelope->high);
  }
  return line;
}

// `of_norms`: the findings about norms, or all others.
ModelCheck weight_check(const weight_checks::WeightReport& report, bool of_norms) {
  ModelCheck check;
  check.name = of_norms ? "norms" : "projections";
  check.title = of_norms ? "Norm weights" : "Projection weights";
  size_t n_findings = 0;
  for (const weight_checks::WeightFinding& finding : report.findings) {
    if (is_norm(finding) == of_norms) {
      ++n_findings;
      if (!finding.passed) {
        check.problems.push_back(problem_line(finding));
      }
    }
  }
  const size_t n_tensors = of_norms ? report.n_norms : report.n_projections;
  if (n_tensors == 0) {
    check.problems.emplace_back("the file has none");
  }
  check.passed = check.problems.empty();
  check.summary = fmt::format("{} tensors, {} figures, {} outside of their envelopes (rules {})", n_tensors, n_findings,
                              check.problems.size(), printable(report.rules_name));
  check.figures = {{"tensors", n_tensors}, {"figures", n_findings}, {"rules", report.rules_name}};
  return check;
}

ModelCheck tokenizer_check(const OpenedModel& opened) {
  ModelCheck check;
  check.name = "tokenizer";
  check.title = "Tokenizer";
  check.problems = opened.tokenizer_facts.disagreements;
  check.passed = check.problems.empty();
  check.figures = {{"vocab_size", opened.tokenizer_facts.vocab_size},
                   {"gguf_has_vocabulary", opened.view.has("tokenizer.ggml.tokens")}};
  check.summary = fmt::format("{} token ids; {}", opened.tokenizer_facts.vocab_size,
                              !opened.view.has("tokenizer.ggml.tokens") ? "the GGUF has no vocabulary of its own"
                              : check.passed                            ? "the GGUF's vocabulary agrees"
                                                                        : "the GGUF's vocabulary disagrees");
  return check;
}

struct Probe {
  std::vector<int32_t> ids;
  std::string text;
  double wall_s = 0;
};

// Greedy, in a process of its own: a crash of the engine is a result. Errors: kEngine, and 3's where the child says so.
Result<Probe> run_probe(const ValidateOptions& options, const OpenedModel& opened, const Interrupt& interrupt) {
  ChildCommand command;
  command.argv = {"/proc/self/exe",
                  "run",
                  "--model",
                  options.model,
                  "--tokenizer",
                  options.tokenizer,
                  "--prompt=" + options.prompt,
                  "--max-tokens",
                  std::to_string(options.max_tokens),
                  "--temperature",
                  "0.0",
                  "--greedy"};
  command.environment = {{"BITNET_DETERMINISTIC", "1"}, {"BITNET_SEED", "42"}, {"BITNET_TRACE_DIR", ""}};
  TERN_ASSIGN_OR_RETURN(command.timeout_s,
                        sweep::timeout_seconds(options.timeout.empty() ? nullptr : options.timeout.c_str(),
                                               environment_variable("CROSSVAL_TIMEOUT_SECS")));
  command.interrupt = &interrupt;
  TERN_ASSIGN_OR_RETURN(const ChildResult child, run_child(command));
  if (child.interrupted) {
    return fail(ErrorCode::kEngine, "the greedy probe", "was interrupted");
  }
  if (child.timed_out) {
    return fail(ErrorCode::kEngine, "the greedy probe", fmt::format("timed out after {} s", command.timeout_s));
  }
  if (child.signal) {
    return fail(ErrorCode::kEngine, "the greedy probe", "was killed by " + signal_name(*child.signal));
  }
  if (child.exit_code != 0) {
    return fail(ErrorCode::kEngine, "the greedy probe",
                fmt::format("ended with exit code {}: {}", *child.exit_code, printable(child.output_tail, 1000)));
  }
  const auto ids = peer::token_ids_in_output(child.output_tail, "Generated tokens:");
  if (!ids) {
    return fail(ErrorCode::kEngine, "the greedy probe", "printed no line \"Generated tokens: [...]\"");
  }
  TERN_ASSIGN_OR_RETURN(std::string text, opened.tokenizer->decode(*ids));
  return Probe{*ids, std::move(text), child.wall_s};
}

ModelCheck probe_check(const ValidateOptions& options, const Probe& probe) {
  const ProbeText judged = judge_probe(probe.text, probe.ids);
  ModelCheck check;
  check.name = "inference";
  check.title = "Greedy probe";
  check.problems = judged.problems;
  check.passed = check.problems.empty();
  check.summary = fmt::format(
      "{} tokens in {:.1f} s; {} words, {} of letters, {} of three and more; "
      "most frequent token {:.0f} %: \"{}\" -> \"{}\"",
      judged.n_tokens, probe.wall_s, judged.n_words, judged.n_alphabetic_words, judged.n_long_words,
      100 * judged.most_frequent_token_share, printable(options.prompt), printable(probe.text, 400));
  check.figures = {{"prompt", options.prompt},
                   {"text", probe.text},
                   {"tokens", judged.n_tokens},
                   {"words", judged.n_words},
                   {"alphabetic_words", judged.n_alphabetic_words},
                   {"long_words", judged.n_long_words},
                   {"mean_word_bytes", json_number(judged.mean_word_bytes)},
                   {"control_characters", judged.n_control_characters},
                   {"most_frequent_token_share", json_number(judged.most_frequent_token_share)}};
  return check;
}

}  // namespace

bool Validation::passed() const {
  return !probe_error &&
         std::all_of(checks.begin(), checks.end(), [](const ModelCheck& check) { return check.passed; });
}

Result<Validation> validate(const ValidateOptions& options, const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(const OpenedModel opened, open_model_and_tokenizer(options.model, options.tokenizer));
  TERN_RETURN_IF_ERROR(check_computable(opened.view));
  if (const auto ids = opened.tokenizer->encode(options.prompt, true); !ids) {
    return invalid_input("--prompt: " + ids.error().where, ids.error().what);
  }
  TERN_ASSIGN_OR_RETURN(const weight_checks::WeightRules rules, weight_checks::rules_for(opened.view));
  const weight_checks::WeightReport weights = weight_checks::check_weights(opened.view, &rules);
  Validation validation{.model = options.model,
                        .tokenizer = options.tokenizer,
                        .checks = {weight_check(weights, true), weight_check(weights, false), tokenizer_check(opened)},
                        .probe_error = {}};
  const auto probe = run_probe(options, opened, interrupt);
  if (probe) {
    validation.checks.push_back(probe_check(options, *probe));
  } else {
    validation.probe_error = probe.error();
  }
  return validation;
}

std::string validation_text(const Validation& validation) {
  constexpr size_t kProblemsShown = 20;
  const std::vector<ModelCheck>& checks = validation.checks;
  std::string text;
  for (size_t i = 0; i < checks.size(); ++i) {
    text += fmt::format("{}/{} {:<19} {}  {}\n", i + 1, checks.size(), checks[i].title,
                        checks[i].passed ? "ok  " : "FAIL", checks[i].summary);
    const std::vector<std::string>& problems = checks[i].problems;
    for (size_t k = 0; k < std::min(problems.size(), kProblemsShown); ++k) {
      text += fmt::format("      {}\n", problems[k]);
    }
    if (problems.size() > kProblemsShown) {
      text += fmt::format("      ... and {} more\n", problems.size() - kProblemsShown);
    }
  }
  return text + (validation.passed() ? "ALL VALIDATION CHECKS PASSED\n" : "VALIDATION FAILED\n");
}

Json to_json(const Validation& validation) {
  Json list = Json::array();
  for (const ModelCheck& check : validation.checks) {
    list.push_back({{"name", check.name},
                    {"passed", check.passed},
                    {"summary", check.summary},
                    {"problems", check.problems},
                    {"figures", check.figures}});
  }
  return {{"model", validation.model},
          {"tokenizer", validation.tokenizer},
          {"passed", validation.passed()},
          {"checks", std::move(list)}};
}

}  // namespace tern::app
