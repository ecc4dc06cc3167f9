// Why a side is wrong, measured from the data. The estimator of the first wrong stage proposes transformations. The
// stage is computed again with each, and a proposal counts only if the error falls to rounding. What it mends elsewhere
// belongs to the cause; what it leaves wrong is listed.
#pragma once

#include <optional>
#include <vector>

#include "tern/compare/arbitration.h"
#include "tern/estimate/estimators.h"
#include "tern/outcome/cause.h"

namespace tern::estimate {

// All that is known of a side that is wrong. What is pointed to must outlive the call.
struct WrongSide {
  compare::RunToArbitrate side;                       // `isolation` is null where it has hashes and RMS only
  const trace::EngineRun* exact = nullptr;            // StageFacts' `exact`
  const compare::RoundingNoise* noise = nullptr;      // of this model on these tokens
  const compare::Arbitration* arbitration = nullptr;  // with the side as the subject
  const trace::EngineRun* before = nullptr;           // StageFacts' `before`; may be null
  // What is executed before this tensor is as `before` recorded it; a cause is not found there.
  std::optional<trace::TensorId> known_before = std::nullopt;
  // A close look at the neighbourhood of this tensor alone: nothing else can be computed.
  std::optional<trace::TensorId> around = std::nullopt;
};

// nullopt where no proposal explains the first wrong tensor; `tried` then gets what was held against it (an array, one
// object for each proposal), which otherwise stands in the cause. Errors: those of the oracle's passes.
Result<std::optional<outcome::Cause>> explain(const WrongSide& wrong, const oracle::Steps& steps, Json& tried);

}  // namespace tern::estimate
