#include "tern/report/view/recommendations.h"

#include <fmt/format.h>

#include <cmath>
#include <string_view>

#include "tern/report/view/comparison_view.h"
#include "tern/trace/stage.h"

namespace tern::report {
namespace {

using compare::Side;
using outcome::Execution;
using outcome::ParityStatus;
using outcome::ScenarioOutcome;
using outcome::SweepOutcome;

using Sentences = std::vector<std::string>;

std::string advice_on_stage(const trace::TensorId& id, bool is_known_graph) {
  const trace::StageRow& row = id.stage.row();
  if (!is_known_graph || !id.stage.is_known()) {
    return "What is recorded before it agrees: look at how this node is computed, at the weight that goes into it, "
           "and at the types that it reads and writes.";
  }
  if (row.kind == trace::StageKind::kProjection) {
    return fmt::format(
        "Its input agrees, so look at the matrix blk.{}.{}.weight: that both sides load the same file, "
        "the order and the code map of the 2-bit weights, the scale, and how the activations are rounded to int8.",
        id.layer, row.weight);
  }
  return std::string(row.advice);
}

void add_failure(Sentences& out, const SweepOutcome& sweep, const ScenarioOutcome& scenario, Side side) {
  const Execution& run = scenario.sides.at(side).execution;
  const std::string who = fmt::format("The {}", compare::side_name(side));
  const std::string log = (scenario.folder / fmt::format("{}-output.txt", compare::file_prefix(side))).string();
  const std::string last = run.last_tensor ? fmt::format(" The last tensor it traced is {}.", *run.last_tensor) : "";
  if (run.timed_out) {
    const double now = run.timeout_s > 0 ? run.timeout_s : sweep.timeout_s;
    out.push_back(
        fmt::format("{} did not finish within {:g} s.{} Raise the limit, e.g. CROSSVAL_TIMEOUT_SECS={:.0f} "
                    "(it is {:g} now), or use fewer tokens or a smaller model.",
                    who, now, last, std::ceil(now * 4), now));
    return;
  }
  if (run.signal) {
    out.push_back(fmt::format("{} crashed with {}.{} Its messages are in {}; run the command below under a debugger.",
                              who, signal_name(*run.signal), last, log));
    return;
  }
  out.push_back(fmt::format("{} failed: {}.{} Its messages are in {}.", who,
                            run.failure.empty() ? scenario.reason : run.failure, last, log));
}

void add_divergence(Sentences& out, const SweepOutcome& sweep, const ScenarioOutcome& scenario, Grade grade) {
  if (!scenario.comparison) {
    out.push_back("The scenario diverged: " + scenario.reason);
    return;
  }
  const compare::RunComparison& c = *scenario.comparison;
  if (!c.tokens.prompt_equal) {
    out.push_back(
        "The prompt became different token ids. Nothing else was compared. Look at the tokenizer before the engine: "
        "BOS, the pre-tokenizer (tokenizer.ggml.pre), the merges and the special tokens. "
        "`tern tokenize` shows the ids of a tokenizer.json or a GGUF.");
    return;
  }
  if (c.first_divergence) {
    const trace::TensorId& id = *c.first_divergence;
    out.push_back(fmt::format("Start at {} ({}). {}", id.name(), compare::place_of(id),
                              advice_on(id, sweep.model.graph_is_known)));
  } else if (c.tokens.first_divergence_step) {
    out.push_back(
        fmt::format("Tokens differ from step {} on although no compared tensor does: "
                    "look at how a token is picked from the logits (greedy, ties, end-of-text handling).",
                    *c.tokens.first_divergence_step));
  }
  const auto& [green, yellow] = c.cosine_grades;
  if (grade == Grade::kRed) {
    out.push_back(fmt::format("The logits' cosine is below {:g}: this is a wrong computation, not rounding.", yellow));
  } else if (grade == Grade::kYellow) {
    out.push_back(
        fmt::format("The logits' cosine is between {:g} and {:g}: more than rounding; one stage or one layer is off.",
                    yellow, green));
  } else if (grade == Grade::kGreen && c.exact) {
    out.push_back(
        fmt::format("The logits stay close (cosine at least {:g}), but both sides claim the same arithmetic, "
                    "which makes any difference a fault: a single weight or one rounding may be enough.",
                    green));
  }
}

void add_no_reference(Sentences& out, const SweepOutcome& sweep) {
  out.push_back(
      fmt::format("There was no reference{}. The result shows neither right nor wrong. Set BITNET_CPP_DIR to a built "
                  "bitnet.cpp, or pass --reference pack:DIR with a recording of this model "
                  "(`tern pack` makes one where a reference is installed).",
                  sweep.reference.note.empty() ? "" : " (" + sweep.reference.note + ")"));
  out.push_back(
      "Until then the traces can serve as a baseline: keep the scenario's folder and hold later runs against it.");
}

// What the oracle found, which no advice that is based on two sides alone can outrank.
void add_arbitration(Sentences& out, const SweepOutcome& sweep, const ScenarioOutcome& scenario) {
  if (!scenario.arbitration) {
    return;
  }
  if (scenario.arbitration->wrong() == compare::Wrong::kUnknown) {
    out.push_back(
        fmt::format("One side is wrong at {}, and the oracle cannot say which: record the values there "
                    "(--dump-tensors) on both sides.",
                    scenario.arbitration->parted->id.name()));
    return;
  }
  if (scenario.arbitration->wrong() == compare::Wrong::kNeither) {
    if (scenario.status == ParityStatus::kDiverged && scenario.cause) {
      out.push_back(fmt::format("By the oracle, neither side is wrong; likely cause: {} ({}).", scenario.cause->id,
                                scenario.cause->evidence));
    }
    return;
  }
  const compare::Arbitration& arbitration = *scenario.arbitration;
  const bool subject = arbitration.first_wrong.subject.first().has_value();
  const trace::TensorId id = *arbitration.first_wrong_tensor();
  out.push_back(fmt::format("By the oracle, {} at {}. {}",
                            arbitration.wrong() == compare::Wrong::kBoth ? "both sides go wrong, the subject"
                            : subject                                    ? "the subject goes wrong"
                                      : "the reference goes wrong, and not the subject,",
                            id.name(), advice_on(id, sweep.model.graph_is_known)));
  if (scenario.cause && scenario.cause->id != "unknown") {
    const std::string left = unexplained_by(*scenario.cause);
    out.push_back(fmt::format("Likely cause: {}.{}", cause_line(*scenario.cause),
                              left.empty() ? "" : fmt::format(" It does not explain all that is wrong: {}.", left)));
  }
}

void add_mistrusted(Sentences& out, const ScenarioOutcome& scenario) {
  out.push_back(fmt::format("Do not read this as a pass: {}.",
                            scenario.reason.empty() ? "the comparison proves nothing" : scenario.reason));
  if (scenario.reference_has_no_answer) {
    out.push_back(
        "The reference is a recording without this scenario: record it where the reference is installed "
        "(`tern pack record --scenarios`), or leave the scenario out.");
    return;
  }
  const bool is_missing = scenario.comparison && !scenario.comparison->missing.empty();
  if (is_missing) {
    out.push_back(
        "Let both engines trace every stage of every layer and pass, "
        "or say with --allow-missing what need not be compared.");
  }
  if (scenario.sides.subject.n_traces == 0) {
    out.push_back(
        "The subject wrote no trace files. Check that it writes to BITNET_TRACE_DIR and that tracing is compiled in.");
  }
  if (scenario.sides.reference.n_traces == 0) {
    out.push_back("The reference has no trace. Record it again with traces, or use another reference.");
  }
  const bool by_oracle = scenario.arbitration && scenario.arbitration->someone_is_wrong();
  if (scenario.sides.subject.n_traces > 0 && scenario.sides.reference.n_traces > 0 && !by_oracle && !is_missing) {
    out.push_back("Zeros or NaN on both sides usually come from the model file: run `tern validate` on it.");
  }
}

void add_agreement(Sentences& out, const ScenarioOutcome& scenario) {
  if (!scenario.comparison) {
    return;
  }
  const compare::RunComparison& c = *scenario.comparison;
  if (c.verdict.kind == compare::VerdictKind::kMatch) {
    out.push_back(fmt::format("No action needed: {} tensors are equal bit for bit, and all {} tokens are.",
                              c.n_hash_equal, c.tokens.n_equal));
  } else if (c.tokens.first_divergence_step) {
    out.push_back(fmt::format("The tokens part at step {} in a tie, which is no fault.{}",
                              *c.tokens.first_divergence_step,
                              c.tokens.teacher_forced ? "" : " To compare further, use a prompt without such a tie."));
  } else {
    out.push_back("No action needed: all differences are inside the tolerance.");
  }
  if (c.first_hash_difference && !c.exact) {
    out.push_back(fmt::format("The first tensor whose bits differ is {}: the place to look if you expected none.",
                              c.first_hash_difference->name()));
  }
}

void add_coverage(Sentences& out, const ScenarioOutcome& scenario) {
  if (!scenario.comparison) {
    return;
  }
  const compare::Coverage& coverage = scenario.comparison->coverage;
  if (coverage.tensors_compared < coverage.tensors_expected) {
    out.push_back(fmt::format("{} of {} tensors were not compared; sweep.json lists each with its reason.",
                              coverage.tensors_expected - coverage.tensors_compared, coverage.tensors_expected));
  }
}

}  // namespace

std::string advice_on(const trace::TensorId& id, bool is_known_graph) {
  std::string advice = advice_on_stage(id, is_known_graph);
  if (id.seq > 0) {
    advice +=
        " The prefill agrees, so the KV cache, the position of the new token and the one-token code path come first.";
  } else if (id.ubatch > 0) {
    advice += " The first ubatch agrees, so positions and the KV cache across ubatches come first.";
  }
  return advice;
}

std::vector<std::string> recommendations(const SweepOutcome& sweep, const ScenarioOutcome& scenario, Grade grade) {
  Sentences out;
  switch (scenario.status) {
    case ParityStatus::kOk:
      add_agreement(out, scenario);
      break;
    case ParityStatus::kRustOnly:
      add_no_reference(out, sweep);
      break;
    case ParityStatus::kDiverged:
      add_divergence(out, sweep, scenario, grade);
      break;
    case ParityStatus::kReferenceFailed:
      add_failure(out, sweep, scenario, Side::kReference);
      break;
    case ParityStatus::kSubjectFailed:
      add_failure(out, sweep, scenario, Side::kSubject);
      break;
    case ParityStatus::kMistrusted:
      add_mistrusted(out, scenario);
      break;
    case ParityStatus::kMachineFailed:
      out.push_back(
          fmt::format("The machine failed: {}. Repair that, and run the sweep again with --resume.", scenario.reason));
      break;
  }
  add_arbitration(out, sweep, scenario);
  add_coverage(out, scenario);
  for (const std::string& disagreement : sweep.tokenizer.disagreements) {
    out.push_back("The tokenizer and the model disagree: " + disagreement);
  }
  if (out.empty()) {
    out.push_back("No action needed.");
  }
  return out;
}

}  // namespace tern::report
