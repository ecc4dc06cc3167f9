#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "tern/app/opened_model.h"
#include "tern/app/probe_text.h"
#include "tern/base/child_process.h"
#include "tern/base/environment.h"
#include "tern/base/json.h"
#include "tern/base/json_format.h"
#include "tern/cli/command.h"
#include "tern/peer/peer.h"
#include "tern/sweep/environment.h"
#include "tern/weight_checks/weight_checks.h"

namespace tern::cli {
namespace {

struct ValidateOptions {
  std::string model, tokenizer;
  std::string prompt = "Once upon a time";
  int max_tokens = 32;
  std::string timeout;
  bool json = false;
};

struct Check {
  std::string name;   // "norms"
  std::string title;  // "Norm weights"
  bool passed = false;
  std::string summary;  // one line with the figures
  std::vector<std::string> problems;
  Json figures = Json::object();
};

bool is_norm(const weight_checks::WeightFinding& finding) { return finding.tensor.find("norm") != std::string::npos; }

std::string problem_line(const weight_checks::WeightFinding& finding) {
  const std::string name = finding.tensor.empty() ? "the file" : printable(finding.tensor);
  std::string line = fmt::format("{}: {} is {:.6g}", name, finding.statistic, finding.value);
  if (finding.envelope) {
    line += fmt::format(", outside of [{:g}, {:g}]", finding.envelope->low, finding.envelope->high);
  }
  return line;
}

// `want_norms`: the findings about norms, or all others.
Check weight_check(const weight_checks::WeightReport& report, bool want_norms) {
  Check check;
  check.name = want_norms ? "norms" : "projections";
  check.title = want_norms ? "Norm weights" : "Projection weights";
  size_t n_findings = 0;
  for (const weight_checks::WeightFinding& finding : report.findings) {
    if (is_norm(finding) == want_norms) {
      ++n_findings;
      if (!finding.passed) {
        check.problems.push_back(problem_line(finding));
      }
    }
  }
  const size_t n_tensors = want_norms ? report.n_norms : report.n_projections;
  if (n_tensors == 0) {
    check.problems.emplace_back("the file has none");
  }
  check.passed = check.problems.empty();
  check.summary = fmt::format("{} tensors, {} figures, {} outside of their envelopes (rules {})", n_tensors, n_findings,
                              check.problems.size(), printable(report.rules_name));
  check.figures = {{"tensors", n_tensors}, {"figures", n_findings}, {"rules", report.rules_name}};
  return check;
}

Check tokenizer_check(const app::OpenedModel& opened) {
  Check check;
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
Result<Probe> run_probe(const ValidateOptions& options, const app::OpenedModel& opened, const Interrupt& interrupt) {
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

Check probe_check(const ValidateOptions& options, const Probe& probe) {
  const app::ProbeText judged = app::judge_probe(probe.text, probe.ids);
  Check check;
  check.name = "inference";
  check.title = "Greedy probe";
  check.problems = judged.problems;
  check.passed = check.problems.empty();
  check.summary = fmt::format(
      "{} tokens in {:.1f} s; {} words, {} of letters, {} of three and more; most frequent token "
      "{:.0f} %: \"{}\" -> \"{}\"",
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

void print_checks(const ValidateOptions& options, const std::vector<Check>& checks, bool passed) {
  if (options.json) {
    Json list = Json::array();
    for (const Check& check : checks) {
      list.push_back({{"name", check.name},
                      {"passed", check.passed},
                      {"summary", check.summary},
                      {"problems", check.problems},
                      {"figures", check.figures}});
    }
    const Json json = {
        {"model", options.model}, {"tokenizer", options.tokenizer}, {"passed", passed}, {"checks", std::move(list)}};
    fmt::print("{}", to_json_text(with_format(Document::kCommand, json)));
    return;
  }
  for (size_t i = 0; i < checks.size(); ++i) {
    fmt::print("{}/{} {:<19} {}  {}\n", i + 1, checks.size(), checks[i].title, checks[i].passed ? "ok  " : "FAIL",
               checks[i].summary);
    constexpr size_t kShown = 20;
    for (size_t k = 0; k < std::min(checks[i].problems.size(), kShown); ++k) {
      fmt::print("      {}\n", checks[i].problems[k]);
    }
    if (checks[i].problems.size() > kShown) {
      fmt::print("      ... and {} more\n", checks[i].problems.size() - kShown);
    }
  }
  fmt::print("{}\n", passed ? "ALL VALIDATION CHECKS PASSED" : "VALIDATION FAILED");
}

Result<int> validate(const ValidateOptions& options) {
  TERN_ASSIGN_OR_RETURN(const app::OpenedModel opened, app::open_model_and_tokenizer(options.model, options.tokenizer));
  TERN_RETURN_IF_ERROR(app::check_computable(opened.view));
  if (const auto ids = opened.tokenizer->encode(options.prompt, true); !ids) {
    return invalid_input("--prompt: " + ids.error().where, ids.error().what);
  }
  TERN_ASSIGN_OR_RETURN(const weight_checks::WeightRules rules, weight_checks::rules_for(opened.view));
  const weight_checks::WeightReport weights = weight_checks::check_weights(opened.view, &rules);
  std::vector<Check> checks = {weight_check(weights, true), weight_check(weights, false), tokenizer_check(opened)};
  const Interrupt interrupt;
  const auto probe = run_probe(options, opened, interrupt);
  if (interrupt.signal() != 0) {
    return 128 + interrupt.signal();
  }
  if (!probe) {
    print_checks(options, checks, false);  // what was found before stays worth knowing
    return tl::unexpected(probe.error());
  }
  checks.push_back(probe_check(options, *probe));
  bool passed = true;
  for (const Check& check : checks) {
    passed = passed && check.passed;
  }
  print_checks(options, checks, passed);
  return passed ? 0 : 1;
}

}  // namespace

void add_validate(Command& app, Action& action) {
  Command* command =
      app.add_subcommand("validate", "Check a model file: norms, projections, tokenizer, and a greedy probe");
  auto options = std::make_shared<ValidateOptions>();
  command->add_option("model", options->model, "The GGUF model")->required();
  command->add_option("tokenizer", options->tokenizer, "Its tokenizer.json")->required();
  command->add_option("--prompt", options->prompt, "What the probe continues")->capture_default_str();
  command->add_option("--max-tokens", options->max_tokens, "How far")->capture_default_str()->check(in_range(1, 256));
  command->add_option("--timeout", options->timeout, "Seconds for the probe [CROSSVAL_TIMEOUT_SECS, else 180]");
  command->add_flag("--json", options->json, "Everything as JSON");
  command->footer(
      "Example: tern validate models/tern-tiny/tern-tiny-i2_s.gguf models/tern-tiny/tokenizer.json\n"
      "Exit codes: 0 all passed, 1 a check failed, 3 a file cannot be read or is invalid, 4 the engine failed.");
  command->callback([options, &action] { action = [options] { return validate(*options); }; });
}

}  // namespace tern::cli
