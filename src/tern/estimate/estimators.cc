#include "tern/estimate/estimators.h"

#include <algorithm>
#include <iterator>

namespace tern::estimate {
namespace {

using trace::StageKind;

struct Row {
  StageKind kind;
  Estimator estimator;
};

constexpr Row kEstimators[] = {
    {StageKind::kEmbedding, estimate_embeddings},
    {StageKind::kNorm, estimate_norm},
    {StageKind::kProjection, estimate_projection},
    {StageKind::kRope, estimate_rope},
    {StageKind::kScores, estimate_scores},
    {StageKind::kMixing, estimate_mixing},
    {StageKind::kActivation, estimate_activation},
    {StageKind::kResidual, estimate_residual},
    {StageKind::kHead, estimate_head},
};

}  // namespace

Estimator estimator_of(StageKind kind) {
  const auto* const found =
      std::find_if(std::begin(kEstimators), std::end(kEstimators), [&](const Row& row) { return row.kind == kind; });
  return found == std::end(kEstimators) ? nullptr : found->estimator;
}

}  // namespace tern::estimate
