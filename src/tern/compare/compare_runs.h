// Two runs of the same prompt, held against each other: tokens, logits, every traced tensor in execution order.
// Pure: reads what trace/ has loaded, touches no engine. Never reaches model/ or kernels/, so that one bug cannot stand
// on both sides.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tern/compare/metrics.h"
#include "tern/compare/verdict.h"
#include "tern/trace/run_folder.h"

namespace tern::compare {

// Bounds for runs that are not held to equal hashes. docs/validation-framework.md explains each default.
struct Tolerances {
  double min_logits_cosine = 0.99;        // mission text: at least 0.99 is green
  double max_relative_error = 0.10;       // of a tensor's values, |a - b| / |b|
  double max_rms_ratio_deviation = 0.05;  // |rms_a / rms_b - 1|, where only hashes and RMS are there
};

enum class Exactness {
  kAuto,   // exact if both runs name the same arithmetic (RunResult::arithmetic), otherwise tolerant
  kExact,  // every hash must be equal
  kTolerant,
};

struct CompareOptions {
  Exactness exactness = Exactness::kAuto;
  Tolerances tolerances;
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
  kAfterTokenMismatch,  // the runs had generated different tokens before: not comparable
};
// "equal", "within_tolerance", "diverged", "shape_mismatch", "mistrusted", "closed_gate", "only_subject",
// "only_reference", "after_token_mismatch"
std::string_view tensor_status_name(TensorStatus status);

struct TensorComparison {
  trace::TensorId id;
  TensorStatus status = TensorStatus::kOnlySubject;
  trace::Shape subject_shape, reference_shape;  // empty on the side that lacks it
  bool hash_equal = false;
  std::optional<double> subject_rms, reference_rms;  // absent where the values are not finite
  std::optional<Metrics> metrics;                    // where both sides have values
  std::string note;                                  // why it is mistrusted; otherwise empty
};

struct TokenComparison {
  bool prompt_equal = false;
  size_t n_asked = 0;                           // the smaller of both max_tokens; nothing beyond it is looked at
  size_t n_subject = 0, n_reference = 0;        // generated tokens, up to n_asked
  size_t n_compared = 0, n_equal = 0;           // position by position, over the shorter of the two
  std::optional<size_t> first_divergence_step;  // first generated token that differs or is missing on one side
  // n_equal / max(n_subject, n_reference); absent where nothing was generated or the prompts differ.
  std::optional<double> exact_match_rate;
};

struct LogitsPosition {
  size_t position = 0;  // row: prompt positions first, then the decode steps
  bool is_decode = false;
  TensorStatus status = TensorStatus::kMistrusted;  // kHashEqual here: no value differs
  Metrics metrics;
  int32_t subject_argmax = 0, reference_argmax = 0;
  double reference_margin = 0;  // reference's best logit minus its second best
};

struct LogitsComparison {
  size_t n_expected = 0;                          // rows the tokens demand
  size_t subject_vocab = 0, reference_vocab = 0;  // row lengths; where they differ no position is compared
  std::vector<LogitsPosition> positions;          // only those with the same tokens before them
  std::optional<double> min_cosine, mean_cosine;
  double max_abs = 0;
};

struct Coverage {
  // expected: the union of both sides' tensors; compared: those whose status says how they relate to each other.
  size_t tensors_compared = 0, tensors_expected = 0;
  size_t tokens_compared = 0, tokens_expected = 0;
  size_t positions_compared = 0, positions_expected = 0;
  size_t unknown_stages = 0;  // records on either side whose names are none of our stages
};

struct RunComparison {
  Verdict verdict;
  bool exact = false;        // were equal hashes demanded
  std::string exact_reason;  // why, or why not
  Coverage coverage;
  size_t n_hash_equal = 0;
  TokenComparison tokens;
  std::optional<LogitsComparison> logits;  // where both sides have them
  std::vector<TensorComparison> tensors;   // in execution order
  // First tensor in execution order whose hash differs, whatever its size: where to look.
  std::optional<trace::TensorId> first_hash_difference;
  // First tensor outside of what was demanded; equals first_hash_difference when exact.
  std::optional<trace::TensorId> first_divergence;
};

// "prefill, layer 3", "decode step 2"
std::string place_of(const trace::TensorId& id);

// The verdict is about the first trouble in execution order, since whatever comes after it has inherited it. A run
// whose values are not finite on both sides, whose tensors are zero without a legal cause, that has no trace, or that
// shares nothing with the other one is mistrusted, never a match.
RunComparison compare_runs(const trace::EngineRun& subject, const trace::EngineRun& reference,
                           const CompareOptions& options = {});

}  // namespace tern::compare
