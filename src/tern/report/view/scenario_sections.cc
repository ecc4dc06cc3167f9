// The sections of the long report of a scenario.
#include <fmt/format.h>

#include <tuple>

#include "tern/report/view/parts.h"
#include "tern/report/view/recommendations.h"

namespace tern::report {
namespace {

using compare::Side;
using outcome::ScenarioOutcome;
using outcome::SideOutcome;
using outcome::SweepOutcome;

std::string or_not_measured(const std::string& text) { return text.empty() ? kNotMeasured : text; }

// "Subject", "Reference"
std::string title_of(Side side) { return side == Side::kSubject ? "Subject" : "Reference"; }

std::string variable(const SweepOutcome& sweep, const ScenarioOutcome& scenario, const char* name) {
  for (const auto* environment : {&scenario.sides.subject.execution.environment, &sweep.environment}) {
    if (const auto it = environment->find(name); it != environment->end()) {
      return it->second;
    }
  }
  return kNotMeasured;
}

Section configuration(const SweepOutcome& sweep, const ScenarioOutcome& scenario) {
  const auto& [model, tokenizer, reference] = std::tie(sweep.model, sweep.tokenizer, sweep.reference);
  const std::string note = reference.note.empty() ? "" : " (" + reference.note + ")";
  const std::string flavor = model.quant_flavor.empty() ? "" : " (" + model.quant_flavor + ")";
  Section section{"Test Configuration",
                  {{"Description", scenario.scenario.description},
                   {"Prompt", "\"" + scenario.scenario.prompt + "\""},
                   {"Max tokens", std::to_string(scenario.scenario.max_tokens)},
                   {"Model", model.path},
                   {"Model SHA-256", or_not_measured(model.sha256)},
                   {"Architecture", or_not_measured(model.architecture)},
                   {"Weights", or_not_measured(model.quant_format) + flavor},
                   {"Tokenizer", fmt::format("{} ({} entries)", tokenizer.path, tokenizer.vocab_size)},
                   {"Reference", has_reference(sweep) ? reference.spec : "none" + note}},
                  {},
                  {},
                  {}};
  if (reference.is_there && !reference.note.empty()) {
    section.facts.push_back({"Reference note", reference.note});
  }
  section.facts.insert(section.facts.end(), {{"Temperature", "0.0 (greedy)"},
                                             {"Seed", variable(sweep, scenario, "BITNET_SEED")},
                                             {"Threads", variable(sweep, scenario, "RAYON_NUM_THREADS")},
                                             {"Time limit", fmt::format("{:g} s for each engine", sweep.timeout_s)}});
  return section;
}

void add_side(const std::string& title, const SideOutcome& side, std::vector<Fact>& facts) {
  const auto& [execution, result, n_traces] = side;
  facts.push_back({title, result ? or_not_measured(result->engine) : kNotMeasured});
  facts.push_back(
      {title + " ended", execution.command.empty() && result ? "a recording: nothing was run" : ending_of(execution)});
  facts.push_back({title + " traces", fmt::format("{} tensors", n_traces)});
  if (!execution.command.empty()) {
    facts.push_back({title + " memory", memory_figure(execution.peak_rss_bytes)});
  }
  if (!execution.failure.empty()) {
    facts.push_back({title + " failure", execution.failure});
  }
  if (execution.last_tensor) {
    facts.push_back({title + " reached", *execution.last_tensor});
  }
}

Section execution_summary(const ScenarioView& view) {
  Section section{"Execution Summary", {}, {}, {}, {}};
  add_side(title_of(Side::kSubject), view.scenario.sides.subject, section.facts);
  section.facts.push_back({"Reference available", view.reference_was_there ? "yes" : "no"});
  if (view.reference_was_there) {
    add_side(title_of(Side::kReference), view.scenario.sides.reference, section.facts);
  }
  return section;
}

Section output_comparison(const ScenarioView& view) {
  Section section{"Output Comparison",
                  {{"Token match", std::string(view.status)},
                   {"Prompt ids", view.tokens == nullptr      ? kNotMeasured
                                  : view.tokens->prompt_equal ? "equal"
                                                              : "different (tokenizers disagree)"}},
                  {},
                  {},
                  {}};
  for (const auto& [side, of_side] : view.scenario.sides.both()) {
    section.facts.push_back({title_of(side) + " tokens", token_list(of_side.result)});
  }
  for (const auto& [side, of_side] : view.scenario.sides.both()) {
    // A recording need not hold its text; its tokens are what counts.
    const bool has_text = of_side.result && !of_side.result->text.empty();
    section.facts.push_back({title_of(side) + " text", has_text ? "\"" + of_side.result->text + "\"" : kNotMeasured});
  }
  return section;
}

Section parity_metrics(const ScenarioView& view) {
  const auto* const tokens = view.tokens;
  Section section{
      "Parity Metrics",
      {{"Cosine similarity", view.min_cosine ? fmt::format("{} smallest over the rows of logits ({})",
                                                           cosine_figure(view.min_cosine), grade_words(view.grade))
                                             : kNotMeasured},
       {"Cosine mean", cosine_figure(view.mean_cosine)},
       {"Exact match rate", view.exact_match_rate ? fmt::format("{} ({} of {} tokens)", figure(view.exact_match_rate),
                                                                tokens->n_equal, tokens->n_expected())
                                                  : kNotMeasured},
       {"First divergence", view.first_divergence_cell.text},
       {"First other token", tokens == nullptr       ? kNotMeasured
                             : !tokens->prompt_equal ? "in the prompt's token ids"
                             : tokens->first_divergence_step
                                 ? fmt::format("generated token {}", *tokens->first_divergence_step)
                                 : "none in the generated tokens"}},
      {},
      {},
      {}};
  for (const std::string& note : view.scenario.notes) {
    section.facts.push_back({"Note", note});
  }
  if (!view.scenario.comparison) {
    return section;
  }
  const compare::RunComparison& c = *view.scenario.comparison;
  const compare::Coverage& coverage = c.coverage;
  section.facts.push_back({"Level", level_text(c)});
  section.facts.push_back(
      {"Compared", fmt::format("{} of {} tensors ({} of {} stages), {} of {} tokens, {} of {} rows of logits",
                               coverage.tensors_compared, coverage.tensors_expected, coverage.stages_compared,
                               coverage.stages_expected, coverage.tokens_compared, coverage.tokens_expected,
                               coverage.positions_compared, coverage.positions_expected)});
  if (!c.missing.empty()) {
    section.facts.push_back({"Not compared", missing_clause(c)});
  }
  if (c.free_running) {
    section.facts.push_back({"Teacher forcing", fmt::format("fed the reference's tokens, the subject chooses {} of {} "
                                                            "as it does; logits and tensors are compared there",
                                                            c.tokens.n_equal, c.tokens.n_compared)});
  }
  return section;
}

Section trace_analysis(const ScenarioView& view) {
  Section section{"Trace Analysis", {}, {}, {}, {}};
  auto& facts = section.facts;
  if (!view.scenario.comparison) {
    facts.push_back({"First diverging trace", kNotMeasured});
    section.note = "Nothing was there to compare with.";
    return section;
  }
  const compare::RunComparison& c = *view.scenario.comparison;
  const ComparisonView comparison = view_of(c, view.sweep.model.graph_is_known);
  facts.push_back({"Held to", comparison.held_to});
  facts.push_back({"Equal by BLAKE3", fmt::format("{} of {} tensors", c.n_hash_equal, c.coverage.tensors_expected)});
  facts.push_back({"First bit difference", c.first_hash_difference ? c.first_hash_difference->name() : "none"});
  if (const auto& seen = view.scenario.seen_while_running) {
    facts.push_back({"Seen while running", fmt::format("{}, {:.2f} s after the {} was started", seen->id.name(),
                                                       seen->after_s, compare::side_name(seen->side))});
  }
  if (!c.first_divergence) {
    facts.push_back({"First diverging trace", view.first_divergence ? view.first_divergence->name : "none"});
    return section;
  }
  const auto traces = view.scenario.folder / file_of(Side::kSubject, "traces");
  facts.push_back({"First diverging trace", comparison.place});
  facts.push_back({"Trace file", (traces / trace::trace_file_name(*c.first_divergence)).string()});
  section.table = comparison.neighbours;
  return section;
}

Section third_opinion(const ScenarioView& view) {
  Section section{"Third Opinion", {}, {}, {}, {}};
  if (const auto& check = view.sweep.reference_check) {
    const auto* failed = check->first_failed();
    section.facts.push_back({"Reference check", failed != nullptr
                                                    ? fmt::format("failed: {} {}", failed->question, failed->evidence)
                                                    : "passed"});
  }
  if (view.scenario.arbitration) {
    section.arbitration.emplace(view_of(*view.scenario.arbitration, view.scenario.cause));
  } else {
    const std::string& why = view.scenario.no_arbitration;
    section.facts.push_back({"Oracle", why.empty() ? "not asked" : "not asked: " + why});
  }
  return section;
}

Section file_locations(const ScenarioView& view) {
  Section section{"File Locations", {}, {}, {}, {}};
  const auto add = [&](std::string label, const std::filesystem::path& path) {
    section.facts.push_back({std::move(label), path.string()});
  };
  const auto& folder = view.scenario.folder;
  const SideOutcome& subject = view.scenario.sides.subject;
  const SideOutcome& reference = view.scenario.sides.reference;
  for (const Side side : compare::kSides) {
    if (side == Side::kReference && !view.reference_left_files) {
      continue;
    }
    add(title_of(side) + " output", folder / file_of(side, "output.txt"));
    add(title_of(side) + " traces", folder / file_of(side, "traces"));
    if (side == Side::kSubject ? subject.result.has_value() : !reference.execution.command.empty()) {
      add(title_of(side) + " run", folder / file_of(side, "run"));
    }
  }
  add("Parity receipt", folder / "logits-comparison.json");
  add("This report", folder / "report.txt");
  add("Summary", view.sweep.output_dir / "summary.md");
  return section;
}

}  // namespace

std::vector<Section> sections_of(const ScenarioView& view) {
  return {configuration(view.sweep, view.scenario),
          execution_summary(view),
          output_comparison(view),
          parity_metrics(view),
          trace_analysis(view),
          third_opinion(view),
          file_locations(view)};
}

}  // namespace tern::report
