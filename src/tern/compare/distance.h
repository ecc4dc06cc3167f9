// How far one tensor of a run is from what it should have come to. For arbitration.cc and isolation.cc alone.
#pragma once

#include <limits>
#include <map>
#include <optional>
#include <span>

#include "tern/compare/isolation.h"
#include "tern/trace/run_folder.h"

namespace tern::compare {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Which rows of the logits file each pass has. Only the oracle's records state how the prompt was cut into ubatches.
std::map<trace::TensorId, size_t> first_rows(const trace::EngineRun& oracle);

// One side's values of a tensor: traced ones, or for the logits those of logits.safetensors.
class Values {
 public:
  // Both must outlive this.
  Values(const trace::EngineRun& run, const std::map<trace::TensorId, size_t>& logits_rows)
      : run_(run), rows_(logits_rows) {}
  std::optional<std::span<const float>> of(const trace::TraceRecord& wanted) const;

 private:
  const trace::EngineRun& run_;
  const std::map<trace::TensorId, size_t>& rows_;
};

// How precisely a run states its RMS. Engines write RMS with a number of significant digits, or of digits behind the
// point. The largest number of either in any record of the run counts.
class RmsPrecision {
 public:
  explicit RmsPrecision(const trace::EngineRun* run);  // null: nothing is stated
  double half_unit(double rms) const;                  // of the last digit that this RMS is stated to

 private:
  int significant_ = 1, decimals_ = 0;
};

// The error of `x`; nullopt where `oracle` is all zeros, since there is then no ratio.
std::optional<OracleError> error_of_values(std::span<const float> x, std::span<const float> oracle);

}  // namespace tern::compare
