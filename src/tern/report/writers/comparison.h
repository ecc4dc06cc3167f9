// Two runs and the oracle's arbitration between them, written out: for commands that compare without a sweep, and as
// parts of sweep.json.
#pragma once

#include <optional>
#include <string>

#include "tern/base/json.h"
#include "tern/outcome/reference_check.h"
#include "tern/report/view/comparison_view.h"

namespace tern::report {

// `tern compare --json`, and `comparison` in sweep.json.
Json comparison_json(const compare::RunComparison& comparison);
// `tern compare` for people: coverage, tokens, logits, the first divergence among its neighbours, the verdict.
std::string comparison_text(const ComparisonView& view);

// `wrong`: null where one side is, and nothing shows which.
Json wrong_json(const compare::Arbitration& arbitration);
// `stages` has each tensor's errors.
Json arbitration_json(const compare::Arbitration& arbitration);
// Who is wrong, from where on, why, and the errors around that place.
std::string arbitration_text(const ArbitrationView& view);
// `cause`, by docs/validation-framework.md; null where none was looked for.
Json cause_json(const std::optional<outcome::Cause>& cause);
// `tern reference check --json`, and `reference_check` in sweep.json.
Json reference_check_json(const outcome::ReferenceCheckResult& result);

}  // namespace tern::report
