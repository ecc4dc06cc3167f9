// What is to be said about two runs and the oracle's arbitration between them, derived once: for `tern compare` and for
// the reports of a sweep.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tern/compare/arbitration.h"
#include "tern/compare/compare_runs.h"
#include "tern/outcome/cause.h"
#include "tern/trace/stage.h"

namespace tern::report {

// Where a comparison first diverges: `first_divergence` of the reports.
struct Divergence {
  // "tokens": the prompt's ids differ. "generated_tokens": every tensor agrees, and another token was picked.
  // "logits": rows of another length. Otherwise a tensor's.
  std::string name;
  bool is_tokens = false;
  int seq = 0, ubatch = 0, layer = -1;
  std::string stage;
  bool is_tensor = false;
};
// nullopt where nothing diverged.
std::optional<Divergence> divergence_of(const compare::RunComparison& comparison);

// Rows of a table with one of them marked; cells as text.
struct MarkedRow {
  bool marked = false;
  std::vector<std::string> cells;
};
struct MarkedTable {
  std::vector<std::string> columns;
  std::vector<MarkedRow> rows;  // none: there is nothing to show
};

// The tensors around `around` in execution order.
MarkedTable neighbours_of(const compare::RunComparison& comparison, const trace::TensorId& around);

struct ComparisonView {
  const compare::RunComparison& comparison;
  std::string verdict;              // "within tolerance"
  std::string level;                // what must be compared for a pass: "tensors (the default)"
  std::string held_to;              // "equal hashes (both name the arithmetic ...)"
  std::string coverage;             // one line
  std::string missing;              // which expected tensors were not compared; a clause; empty: none
  std::string other_graph;          // what only one of two graphs has; a clause; empty: nothing
  std::string tokens;               // one line
  std::vector<std::string> logits;  // lines
  std::string tensors;              // how many of each status
  std::string place_title, place;   // "first divergence", "blk0/q_rope (prefill, layer 0)"; empty: no bits differ
  MarkedTable neighbours;           // of that place
  std::string advice;               // on it; empty where it did not diverge
};
// Which expected tensors were not compared, and how many of them may be missing; empty: none.
std::string missing_clause(const compare::RunComparison& comparison);

// `is_known_graph`: false where nodes may have the names of stages and mean something else; the advice is then general.
ComparisonView view_of(const compare::RunComparison& comparison, bool is_known_graph);

struct Ranking {
  std::string title;
  MarkedTable table;
};

// "weight_scale at blk1/up_proj of the subject: factor 0.5, expected 1 (confidence 0.70)". `names_side`: whether to say
// whose it is.
std::string cause_line(const outcome::Cause& cause, bool names_side = false);
// "3 tensors, the first is blk2/up_proj"; empty where it explains everything.
std::string unexplained_by(const outcome::Cause& cause);

struct ArbitrationView {
  const compare::Arbitration& arbitration;
  const std::optional<outcome::Cause>& cause;
  std::string cause_line;         // empty where there is none
  std::string unexplained;        // by the cause; mostly empty
  std::vector<Ranking> rankings;  // stages by their errors, the worst first; those beyond the bound are marked
  std::string no_same_inputs;     // why the two sides could not be compared on the same inputs; mostly empty
  MarkedTable neighbours;         // errors around the first wrong tensor
};
ArbitrationView view_of(const compare::Arbitration& arbitration, const std::optional<outcome::Cause>& cause);

}  // namespace tern::report
