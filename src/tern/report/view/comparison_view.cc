#include "tern/report/view/comparison_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>

#include "tern/report/view/figures.h"
#include "tern/report/view/recommendations.h"
#include "tern/trace/stage.h"

namespace tern::report {
namespace {

using compare::Arbitration;
using compare::LocalError;
using compare::OracleError;
using compare::RunComparison;
using compare::StageArbitration;
using compare::TensorComparison;
using compare::TensorStatus;

std::string in_words(std::string_view name) {
  std::string words(name);
  std::replace(words.begin(), words.end(), '_', ' ');
  return words;
}

std::string tensor_counts(const RunComparison& c) {
  constexpr std::array kAll = {
      TensorStatus::kHashEqual,     TensorStatus::kWithinTolerance,   TensorStatus::kDiverged,
      TensorStatus::kShapeMismatch, TensorStatus::kMistrusted,        TensorStatus::kClosedGate,
      TensorStatus::kOnlySubject,   TensorStatus::kOnlyReference,     TensorStatus::kMissing,
      TensorStatus::kNotMeasured,   TensorStatus::kAfterTokenMismatch};
  std::string out;
  for (const TensorStatus status : kAll) {
    const auto n = std::count_if(c.tensors.begin(), c.tensors.end(), [&](const auto& t) { return t.status == status; });
    if (n > 0) {
      out += fmt::format("{}{} {}", out.empty() ? "" : ", ", n, in_words(compare::tensor_status_name(status)));
    }
  }
  return out.empty() ? "none" : out;
}

// Up to three rows on either side of `at`, which is marked.
template <class Row, class Cells>
std::vector<MarkedRow> rows_around(const std::vector<Row>& rows, typename std::vector<Row>::const_iterator at,
                                   const Cells& cells_of) {
  constexpr ptrdiff_t kBefore = 3, kAfter = 3;
  std::vector<MarkedRow> out;
  if (at == rows.end()) {
    return out;
  }
  const auto end = at + std::min(kAfter + 1, rows.end() - at);
  for (auto row = at - std::min(kBefore, at - rows.begin()); row != end; ++row) {
    out.push_back({row == at, cells_of(*row)});
  }
  return out;
}

std::vector<std::string> tensor_cells(const TensorComparison& tensor) {
  const auto& m = tensor.metrics;
  return {tensor.id.name(),
          figure(tensor.rms.subject),
          figure(tensor.rms.reference),
          cosine_figure(m ? m->cosine : std::nullopt),
          figure(m ? m->relative_error : std::nullopt),
          figure(m ? std::optional(m->max_abs) : std::nullopt),
          std::string(compare::tensor_status_name(tensor.status))};
}

std::vector<std::string> logits_lines(const RunComparison& c) {
  if (!c.logits || c.logits->positions.empty()) {
    return {kNotMeasured};
  }
  std::vector<std::string> lines = {fmt::format("cosine smallest {}, mean {}; largest difference {:.6g}",
                                                cosine_figure(c.logits->min_cosine),
                                                cosine_figure(c.logits->mean_cosine), c.logits->max_abs)};
  if (c.logits->max_log_sum_exp_difference) {
    lines.push_back(fmt::format("of {} of {} logits a row and their log-sum-exp, which differs by at most {:.6g}",
                                c.logits->entries_compared, c.logits->vocab.subject,
                                *c.logits->max_log_sum_exp_difference));
  }
  return lines;
}

std::string tokens_line(const RunComparison& c) {
  if (!c.tokens.prompt_equal) {
    return "the prompt's ids differ";
  }
  const std::string equal = fmt::format("{} of {} equal", c.tokens.n_equal, c.coverage.tokens_expected);
  return c.tokens.first_divergence_step
             ? fmt::format("{}, first difference at step {}", equal, *c.tokens.first_divergence_step)
             : equal;
}

// A list is cut after a few of its elements.
std::string parameter_text(const Json& value) {
  if (value.is_string()) {
    return value.get<std::string>();
  }
  if (!value.is_array()) {
    return value.is_number_float() ? fmt::format("{:.6g}", value.get<double>()) : value.dump();
  }
  constexpr size_t kMost = 8;
  std::string out;
  for (size_t i = 0; i < std::min(value.size(), kMost); ++i) {
    out += (i > 0 ? ", " : "") + parameter_text(value[i]);
  }
  return fmt::format("[{}{}]", out, value.size() > kMost ? fmt::format(", … {} in all", value.size()) : "");
}

std::string three_digits(double value) { return fmt::format("{:.3g}", value); }

// Each stage at its worst tensor, the worst stage first. More than `allowance` times the noise floor is marked.
MarkedTable rank_stages(const Arbitration& arbitration, std::string column,
                        const std::function<const std::optional<LocalError>&(const StageArbitration&)>& figure_of,
                        double allowance) {
  struct Ranked {
    trace::TensorId id;
    LocalError figure;
  };
  std::map<trace::Stage, Ranked> worst;
  for (const StageArbitration& stage : arbitration.stages) {
    if (const auto& figure = figure_of(stage)) {
      const auto [known, is_new] = worst.try_emplace(stage.id.stage, Ranked{stage.id, *figure});
      if (!is_new && known->second.figure.multiple() < figure->multiple()) {
        known->second = {stage.id, *figure};
      }
    }
  }
  std::vector<Ranked> ranked;
  for (const auto& [stage, tensor] : worst) {
    ranked.push_back(tensor);
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.figure.multiple() > b.figure.multiple(); });
  constexpr size_t kMost = 8;
  MarkedTable table{{"worst tensor", std::move(column), "noise floor", "multiple"}, {}};
  for (size_t i = 0; i < std::min(ranked.size(), kMost); ++i) {
    const auto& [id, figure] = ranked[i];
    table.rows.push_back({figure.multiple() > allowance,
                          {id.name(), three_digits(figure.error.relative), three_digits(figure.floor.relative),
                           three_digits(figure.multiple())}});
  }
  return table;
}

std::string error_cell(const std::optional<OracleError>& error) {
  return error ? fmt::format("{}{:.3g}", error->is_lower_bound ? ">=" : "", error->relative) : kNotMeasured;
}

// What rounding explains of values, and where a side has RMS only, of these.
std::string bound_cell(const StageArbitration& stage) {
  const auto by_rms = [](const compare::AgainstOracle& held) { return held.error && held.error->is_lower_bound; };
  return three_digits(stage.bound.relative) + (by_rms(stage.sides.subject) || by_rms(stage.sides.reference)
                                                   ? fmt::format(" (RMS {:.3g})", stage.bound.rms)
                                                   : "");
}

std::vector<Ranking> rankings_of(const Arbitration& arbitration) {
  std::vector<Ranking> rankings;
  const auto add = [&](std::string title, MarkedTable table) {
    if (!table.rows.empty()) {
      rankings.push_back({std::move(title), std::move(table)});
    }
  };
  for (const auto& [side, first] : arbitration.first_wrong.both()) {
    if (first.first()) {
      add(fmt::format("{}'s stages by their own errors, each from its recorded inputs", compare::side_name(side)),
          rank_stages(
              arbitration, "own error",
              [side = side](const auto& stage) -> const auto& { return stage.sides.at(side).local; },
              compare::kFloorAllowance));
    }
  }
  if (arbitration.inputs_of) {
    add(fmt::format("both sides' operations on the {}'s inputs: how far apart",
                    compare::side_name(*arbitration.inputs_of)),
        rank_stages(
            arbitration, "apart", [](const auto& stage) -> const auto& { return stage.on_same_inputs; },
            // Two right sides are at most twice as far apart as each is from the oracle.
            2 * compare::kFloorAllowance));
  }
  return rankings;
}

}  // namespace

std::optional<Divergence> divergence_of(const RunComparison& c) {
  if (c.verdict.kind != compare::VerdictKind::kDiverged) {
    return std::nullopt;
  }
  if (!c.tokens.prompt_equal) {
    return Divergence{.name = "tokens", .is_tokens = true, .stage = ""};
  }
  if (c.first_divergence) {
    const trace::TensorId& id = *c.first_divergence;
    return Divergence{.name = id.name(),
                      .seq = id.seq,
                      .ubatch = id.ubatch,
                      .layer = id.layer,
                      .stage = std::string(id.stage.name()),
                      .is_tensor = true};
  }
  if (c.tokens.first_divergence_step) {
    return Divergence{.name = "generated_tokens",
                      .seq = static_cast<int>(*c.tokens.first_divergence_step),
                      .stage = "generated_tokens"};
  }
  return Divergence{.name = "logits", .stage = "logits"};
}

MarkedTable neighbours_of(const RunComparison& c, const trace::TensorId& around) {
  const auto at = std::find_if(c.tensors.begin(), c.tensors.end(), [&](const auto& t) { return t.id == around; });
  return {{"tensor", "RMS", "RMS ref.", "cosine", "rel. error", "max |a-b|", "status"},
          rows_around(c.tensors, at, tensor_cells)};
}

std::string missing_clause(const RunComparison& c) {
  std::string clause = c.missing.empty() ? "" : fmt::format("{} missing: {}", c.coverage.tensors_missing, c.missing);
  if (c.coverage.tensors_allowed_missing > 0) {
    clause += fmt::format("{}{} may be missing (--allow-missing)", clause.empty() ? "" : "; ",
                          c.coverage.tensors_allowed_missing);
  }
  return clause;
}

ComparisonView view_of(const RunComparison& c, bool is_known_graph) {
  const compare::Coverage& coverage = c.coverage;
  ComparisonView view{
      .comparison = c,
      .verdict = in_words(compare::verdict_name(c.verdict.kind)),
      .level = level_text(c),
      .held_to = fmt::format("{} ({})", c.exact ? "equal hashes" : "tolerances", c.exact_reason),
      .coverage = fmt::format("{} of {} tensors, {} of {} tokens, {} of {} rows of logits; {} of {} stages",
                              coverage.tensors_compared, coverage.tensors_expected, coverage.tokens_compared,
                              coverage.tokens_expected, coverage.positions_compared, coverage.positions_expected,
                              coverage.stages_compared, coverage.stages_expected),
      .missing = missing_clause(c),
      .other_graph = "",
      .tokens = tokens_line(c),
      .logits = logits_lines(c),
      .tensors = tensor_counts(c),
      .place_title = "",
      .place = "",
      .neighbours = {},
      .advice = ""};
  if (coverage.tensors_of_one_graph > 0) {
    view.other_graph = fmt::format("{} nodes are in one of the two graphs only, as the settings differ",
                                   coverage.tensors_of_one_graph);
  }
  if (const auto& where = c.first_divergence ? c.first_divergence : c.first_hash_difference) {
    view.place_title = c.first_divergence ? "first divergence" : "first tensor whose bits differ";
    view.place = fmt::format("{} ({})", where->name(), compare::place_of(*where));
    view.neighbours = neighbours_of(c, *where);
    view.advice = c.first_divergence ? advice_on(*where, is_known_graph) : "";
  }
  return view;
}

std::string cause_line(const outcome::Cause& cause, bool names_side) {
  std::string parameters;
  for (const auto& [key, value] : cause.parameters.items()) {
    parameters += fmt::format("{}{} {}", parameters.empty() ? ": " : ", ", in_words(key), parameter_text(value));
  }
  return fmt::format("{} at {}{}{} (confidence {:.2f})", cause.id, cause.name,
                     names_side && cause.side ? fmt::format(" of the {}", compare::side_name(*cause.side)) : "",
                     parameters, cause.confidence);
}

std::string unexplained_by(const outcome::Cause& cause) {
  const size_t n = cause.unexplained.size();
  return n == 0   ? std::string()
         : n == 1 ? cause.unexplained.front()
                  : fmt::format("{} tensors, the first is {}", n, cause.unexplained.front());
}

ArbitrationView view_of(const Arbitration& arbitration, const std::optional<outcome::Cause>& cause) {
  ArbitrationView view{arbitration,
                       cause,
                       cause ? cause_line(*cause, arbitration.wrong() == compare::Wrong::kBoth) : "",
                       cause ? unexplained_by(*cause) : "",
                       rankings_of(arbitration),
                       arbitration.inputs_of ? "" : arbitration.no_same_inputs,
                       {{"relative error of", std::string(compare::side_name(compare::Side::kSubject)),
                         std::string(compare::side_name(compare::Side::kReference)), "rounding explains"},
                        {}}};
  if (const auto first = arbitration.first_wrong_tensor()) {
    const auto& stages = arbitration.stages;
    const auto at = std::find_if(stages.begin(), stages.end(), [&](const auto& stage) { return stage.id == *first; });
    view.neighbours.rows = rows_around(stages, at, [](const StageArbitration& stage) {
      return std::vector<std::string>{stage.id.name(), error_cell(stage.sides.subject.error),
                                      error_cell(stage.sides.reference.error), bound_cell(stage)};
    });
  }
  return view;
}

}  // namespace tern::report
