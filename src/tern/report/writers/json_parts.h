// Pieces that more than one JSON report has. Private to writers/.
#pragma once

#include "tern/base/json.h"
#include "tern/base/json_format.h"
#include "tern/report/view/view.h"

namespace tern::report {

// null where not measured (or not finite).
Json json_or_null(const std::optional<double>& value);
template <class Integer>
Json count_or_null(const std::optional<Integer>& value) {
  return value ? Json(*value) : Json(nullptr);
}
// null for an empty string: not known.
Json text_or_null(const std::string& text);
Json metrics_json(const compare::Metrics& metrics);
Json tokens_json(const compare::TokenComparison& tokens);

// `first_divergence`: a tensor, "tokens" where the prompts' ids differ, null where nothing diverged.
Json first_divergence_json(const std::optional<Divergence>& divergence);

// Arbitration without its list of stages.
Json arbitration_summary_json(const compare::Arbitration& arbitration);

// Everything about the model, the tokenizer and the reference.
Json model_json(const outcome::ModelFacts& model);
Json tokenizer_json(const outcome::TokenizerFacts& tokenizer);
Json engine_json(const outcome::EngineFacts& engine);
// The receipt's `.parity`.
Json parity_json(const ScenarioView& view);

}  // namespace tern::report
