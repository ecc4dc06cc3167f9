#include "tern/estimate/rms_facts.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace tern::estimate {
namespace {

using trace::TensorId;

constexpr double kLeastTolerance = 2e-5;

}  // namespace

RmsFacts::RmsFacts(const trace::EngineRun& side, RmsOf plain, const compare::RoundingNoise& noise)
    : plain_(std::move(plain)) {
  for (const auto& [id, rms] : plain_) {
    const trace::TraceRecord* record = side.find(id);
    const auto of_side = record == nullptr ? std::nullopt : record->finite_rms();
    const auto bound = noise.bound(id);
    if (of_side && rms > 0 && bound) {
      side_[id] = *of_side;
      tolerance_[id] = std::max(bound->rms, kLeastTolerance);
    }
  }
}

void RmsFacts::hold_more_narrowly(const TensorId& id, double tolerance) {
  tolerance_.at(id) = std::min(tolerance_.at(id), std::max(tolerance, kLeastTolerance));
}

bool RmsFacts::Fit::begins_well() const {
  constexpr size_t kMustFit = 3;
  return n_before_wrong >= std::min(n, kMustFit);
}

RmsFacts::Fit RmsFacts::fit(const RmsOf& computed, const TensorId& from, const TensorId& first) const {
  Fit fit;
  for (const auto& [id, of_side] : side_) {
    const auto found = computed.find(id);
    if (id < from || found == computed.end()) {
      continue;
    }
    const double off = found->second > 0 ? std::abs(of_side / found->second - 1) : of_side > 0 ? 1 : 0;
    const double tolerance = tolerance_.at(id);
    ++fit.n;
    fit.n_within += off <= tolerance;
    fit.n_before_wrong += fit.left_wrong.empty() && off <= tolerance;
    const double off_without = std::abs(of_side / plain_.at(id) - 1);
    fit.n_mended_before_wrong += fit.left_wrong.empty() && off <= tolerance && off_without > tolerance;
    fit.least_tolerance = std::min(fit.least_tolerance, tolerance);
    fit.most_tolerance = std::max(fit.most_tolerance, tolerance);
    if (off > tolerance) {
      fit.left_wrong.push_back(id);
    }
    fit.distance += std::min(off / tolerance, kWorst);
    fit.at_first = id == first ? off : fit.at_first;
  }
  fit.distance /= static_cast<double>(std::max<size_t>(fit.n, 1));
  return fit;
}

double RmsFacts::distance_in_layer(const RmsOf& computed, int layer, int seq) const {
  double sum = 0;
  size_t n = 0;
  for (const auto& [id, of_side] : side_) {
    const auto found = computed.find(id);
    if (id.layer == layer && id.seq == seq && found != computed.end() && found->second > 0) {
      sum += std::min(std::abs(of_side / found->second - 1) / tolerance_.at(id), kWorst);
      ++n;
    }
  }
  return sum / static_cast<double>(std::max<size_t>(n, 1));
}

}  // namespace tern::estimate
