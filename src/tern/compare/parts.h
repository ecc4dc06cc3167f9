// The parts of compare_runs(), in the order in which it calls them. Private to compare/.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "tern/compare/compare_runs.h"
#include "tern/trace/run_folder.h"

namespace tern::compare {

TokenComparison compare_tokens(const trace::EngineRun& subject, const trace::EngineRun& reference);

// All tensors of both runs, and what the model's graph has besides.
std::vector<TensorComparison> compare_tensors(const trace::EngineRun& subject, const trace::EngineRun& reference,
                                              const TokenComparison& tokens, bool exact, const CompareOptions& options);
// True where the status says how the two sides relate.
bool is_compared(TensorStatus status);
bool is_on_one_side(TensorStatus status);
// Whether the tensor is expected and was not compared, for no reason that lies in what was computed.
bool is_missing(const TensorComparison& tensor, bool one_engine);

// nullopt where a side has no logits.
std::optional<LogitsComparison> compare_logits(const trace::EngineRun& subject, const trace::EngineRun& reference,
                                               const TokenComparison& tokens, bool exact, const Tolerances& tolerances);

// Sets the kind of each of tokens.differences: a tie or an error. `logits_noise` as in CompareOptions.
void explain_token_differences(const trace::EngineRun& subject, const trace::EngineRun& reference,
                               const std::optional<LogitsComparison>& logits, std::span<const double> logits_noise,
                               TokenComparison& tokens);

// Sets first_hash_difference, first_divergence and the verdict of a comparison whose other members are filled in.
void conclude(const trace::EngineRun& subject, const trace::EngineRun& reference, const Tolerances& tolerances,
              RunComparison& comparison);

}  // namespace tern::compare
