// Two runs of the same prompt, held against each other: tokens, logits, every traced tensor in execution order.
// Pure: reads what trace/ has loaded, touches no engine. Never reaches model/ or kernels/, so that one bug cannot stand
// on both sides.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tern/compare/metrics.h"
#include "tern/compare/sided.h"
#include "tern/compare/verdict.h"
#include "tern/trace/run_folder.h"

namespace tern::compare {

// The user's bound for tensors by name: `pattern` is a shell pattern, of the whole name where it holds a '/', otherwise
// of the stage's. Absent figures are left as they are.
struct StageTolerance {
  std::string pattern;
  std::optional<double> max_relative_error, max_rms_ratio_deviation;
  std::string where;  // the place in the file that it stands at
};

// Grades of a cosine of logits: parity from `green` on, a minor divergence from `yellow` on, a significant one below
// it. docs/validation-framework.md, "Exact or tolerant", states the limits.
struct CosineGrades {
  double green = 0.99, yellow = 0.95;
};

// Bounds for runs that are not held to equal hashes. docs/validation-framework.md explains each default.
struct Tolerances {
  CosineGrades logits_cosine;               // of a row; the verdict demands green
  double max_relative_error = 0.10;         // of a tensor's values, |a - b| / |b|
  double max_rms_ratio_deviation = 0.05;    // |rms_a / rms_b - 1|, where only hashes and RMS are there
  double max_log_sum_exp_difference = 0.5;  // nats, of a row of which a side recorded only its largest logits
  // What rounding may do to one tensor, relative, between two engines that are right. Where it was measured, it
  // replaces the two figures for tensors.
  std::function<std::optional<double>(const trace::TensorId&)> measured = {};
  std::vector<StageTolerance> by_stage = {};  // outrank everything; of those that match, the last one counts

  double relative_error(const trace::TensorId& id) const;
  double rms_ratio_deviation(const trace::TensorId& id) const;
};

enum class Exactness {
  kAuto,   // exact if both runs name the same arithmetic (RunResult::arithmetic), otherwise tolerant
  kExact,  // every hash must be equal
  kTolerant,
};

// What a forward pass of the model consists of; empty where its graph is not known.
struct ModelGraph {
  std::vector<trace::Stage> stages;
  int n_layers = 0;
};

struct CompareOptions {
  Exactness exactness = Exactness::kAuto;
  Tolerances tolerances;
  // Per row of logits, what rounding alone moves them by (RMS), where it was measured (arbitration.h).
  std::vector<double> logits_noise = {};
  bool cut_short = false;  // both runs hold no more than what is up to a first difference
  ModelGraph graph = {};
  // What must be compared for a pass. Absent: tensors, or a lower level where a side states that it offers no more.
  std::optional<trace::Level> level = std::nullopt;
  std::vector<std::string> allow_missing = {};  // patterns (name_pattern.h) of tensors that need not be compared
};

enum class TensorStatus {
  kHashEqual,
  kWithinTolerance,  // hashes differ, values (or RMS, where there are no values) are inside the tolerance
  kDiverged,
  kShapeMismatch,
  kMistrusted,   // all zeros or not finite on both sides, or contradicting itself: equality would prove nothing
  kClosedGate,   // zero on both sides because the ReLU before it let nothing through: legal, but proves nothing
  kOnlySubject,  // the other side has no such tensor
  kOnlyReference,
  kMissing,             // neither side has it, though the model's graph does
  kNotMeasured,         // hashes differ, and a side has neither values nor an RMS to say by how much
  kAfterTokenMismatch,  // the runs had generated different tokens before: not comparable
};
// "equal", "within_tolerance", "diverged", "shape_mismatch", "mistrusted", "closed_gate", "only_subject",
// "only_reference", "missing", "not_measured", "after_token_mismatch"
std::string_view tensor_status_name(TensorStatus status);

struct TensorComparison {
  trace::TensorId id;
  TensorStatus status = TensorStatus::kOnlySubject;
  Sided<trace::Shape> shape;  // empty on the side that lacks it
  bool hash_equal = false;
  Sided<std::optional<double>> rms;  // absent where the values are not finite, or it is not known
  std::optional<Metrics> metrics;    // where both sides have values
  bool proves_nothing = false;       // equal by hash, but zero or not finite on both sides: legal in an unknown stage
  bool shape_is_reversed = false;    // one side's shape is the other's, last dimension first; values are held in order
  bool may_be_missing = false;       // the user allows that it is not compared
  std::string note;                  // why it is mistrusted, or what is odd; otherwise empty
};

// Why two engines that had seen the same tokens chose different ones.
enum class TokenDifferenceKind {
  kError,     // their logits are further apart than rounding explains, or there are none
  kExactTie,  // one side rates the two tokens exactly equal, so their order decides the choice
  kNearTie,   // the gap is smaller than what the logits of that row differ by, or than the measured noise
};
// "error", "exact_tie", "near_tie"
std::string_view token_difference_name(TokenDifferenceKind kind);

struct TokenDifference {
  size_t step = 0;
  Sided<int32_t> chosen;  // ids
  TokenDifferenceKind kind = TokenDifferenceKind::kError;
  std::optional<double> gap;  // how much the reference's logits prefer its own choice to the subject's
};

struct TokenComparison {
  bool prompt_known = false;  // false: a side has no prompt ids, and they are taken for equal
  bool prompt_equal = false;
  bool teacher_forced = false;  // a side was fed the other's tokens: generated tokens are what it would have chosen
  // Last forward pass (TensorId::seq) that had the same tokens before it on both sides and exists on both; -1 if the
  // prompts differ.
  int last_comparable_seq = -1;
  size_t n_asked = 0;                           // the smaller of both max_tokens; nothing beyond it is looked at
  Sided<size_t> n_generated;                    // tokens, up to n_asked
  size_t n_compared = 0, n_equal = 0;           // position by position, over the shorter of the two
  std::optional<size_t> first_divergence_step;  // first generated token that differs or is missing on one side
  // n_equal / n_expected(); absent where nothing was generated or the prompts differ.
  std::optional<double> exact_match_rate;
  std::vector<TokenDifference> differences;  // of tokens that were chosen after equal ones

  size_t n_expected() const { return std::max(n_generated.subject, n_generated.reference); }
};

struct LogitsPosition {
  size_t position = 0;  // row: prompt positions first, then the decode steps
  bool is_decode = false;
  TensorStatus status = TensorStatus::kMistrusted;  // kHashEqual here: no value differs
  // Where a side recorded only its largest logits: over the ids that either side has among them. A value that a
  // side did not record counts as the closest one that it can have there, so that differences are understated,
  // never made up.
  Metrics metrics;
  Sided<int32_t> argmax;
  double reference_margin = 0;  // reference's best logit minus its second best; NaN where only the best was recorded
  std::optional<double> log_sum_exp_difference;  // subject's minus reference's, nats; where a side has only its largest
  std::string note;  // what differs that the metrics do not show; empty where all is recorded
};

struct LogitsComparison {
  size_t n_expected = 0;  // rows the tokens demand
  Sided<size_t> vocab;    // row lengths; where they differ no position is compared
  // Logits of a row whose values both sides have, the least over the rows: all of them, or the k that were recorded.
  // With k of them, the row's log-sum-exp is compared, too: it covers the others.
  size_t entries_compared = 0;
  std::vector<LogitsPosition> positions;  // only those with the same tokens before them
  std::optional<double> min_cosine, mean_cosine;
  double max_abs = 0;
  std::optional<double> max_log_sum_exp_difference;  // largest size of it, where it was compared
};

struct Coverage {
  // expected: the union of both sides' tensors and of the model's graph, where it is known; of one engine under two
  // settings, those that both graphs have; without those that the user allows to be missing.
  // compared: those whose status says how they relate to each other.
  size_t tensors_compared = 0, tensors_expected = 0;
  size_t tensors_missing = 0;          // expected, and not there on one side or both, or not measured
  size_t tensors_allowed_missing = 0;  // not compared, as the user allows
  size_t tensors_of_one_graph = 0;     // of one engine under two settings: those that only one of the two graphs has
  size_t stages_compared = 0, stages_expected = 0;  // kinds of tensors: q_proj, ffn_act, ...
  size_t tokens_compared = 0, tokens_expected = 0;
  size_t positions_compared = 0, positions_expected = 0;
};

struct RunComparison {
  Verdict verdict;
  bool exact = false;                           // were equal hashes demanded
  bool one_engine = false;                      // both sides are one engine under two settings, whose graphs may differ
  std::string exact_reason;                     // why, or why not
  trace::Level level = trace::Level::kTensors;  // what must be compared for a pass
  std::string level_reason;                     // why that: "asked for"
  CosineGrades cosine_grades;                   // that the verdict held the logits to
  Coverage coverage;
  std::string missing;             // which expected tensors were not compared, a clause; empty: none
  std::vector<std::string> notes;  // what is odd about either side's records: sentences
  size_t n_hash_equal = 0;
  TokenComparison tokens;  // of the runs whose tensors and logits are compared
  // Where the subject was fed the reference's tokens: what both had generated on their own.
  std::optional<TokenComparison> free_running;
  std::optional<LogitsComparison> logits;  // where both sides have them
  std::vector<TensorComparison> tensors;   // in the subject's execution order; what it lacks, in the reference's
  bool cut_short = false;                  // nothing behind first_divergence was compared
  // First tensor in execution order whose hash differs, whatever its size: where to look.
  std::optional<trace::TensorId> first_hash_difference;
  // First tensor outside of what was demanded; equals first_hash_difference when exact.
  std::optional<trace::TensorId> first_divergence;
};

// The last forward pass (TensorId::seq) that exists in both runs and had been given the same tokens as in the other
// one: the prompt's, and what decode steps were fed, by a teacher or by the engine itself. -1 if the prompts differ.
int last_pass_with_equal_inputs(const trace::RunResult& a, const trace::RunResult& b);

// What another hash of the very first tensor says: nothing where hashes need not be equal, since none was equal before.
enum class FirstTensor { kProvesNothing, kCounts };
// The first tensor in execution order whose hash differs, among those of which both runs state one, with the same
// tokens before it. nullopt where there is none, or where it is the first and proves nothing.
std::optional<trace::TensorId> where_they_part(const trace::EngineRun& a, const trace::EngineRun& b,
                                               FirstTensor first = FirstTensor::kProvesNothing);

// Whether two runs are held to equal hashes. `reason`: why, or why not.
bool demand_equal_hashes(const trace::EngineRun& subject, const trace::EngineRun& reference, Exactness exactness,
                         std::string& reason);

// "prefill, layer 3", "decode step 2"
std::string place_of(const trace::TensorId& id);

// The verdict is about the first trouble in execution order, since whatever comes after it has inherited it. A run
// whose values are not finite on both sides, whose tensors are zero without a legal cause, that has no trace, or of
// which not every expected tensor was compared, is mistrusted, never a match.
RunComparison compare_runs(const trace::EngineRun& subject, const trace::EngineRun& reference,
                           const CompareOptions& options = {});

// Compares the tokens alone and tells ties from errors: what two runs generated on their own, where another run of the
// subject is compared.
TokenComparison compare_generation(const trace::EngineRun& subject, const trace::EngineRun& reference,
                                   const CompareOptions& options = {});

}  // namespace tern::compare
