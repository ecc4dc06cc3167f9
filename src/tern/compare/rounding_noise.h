// What rounding alone can do in a model on some tokens: how far the oracle moves when every stage is rounded to few
// bits. int8 activations turn the smallest error into a whole step now and then, so a bound must be measured. Pure.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "tern/trace/run_folder.h"

namespace tern::compare {

// A tensor without values of its inputs is wrong if it is further from the oracle than this many times what the rounded
// evaluation is. docs/validation-framework.md says why.
constexpr double kRoundingAllowance = 4;
// The same where only its RMS is known: times the standard deviation of what rounding does to the RMS.
constexpr double kRmsAllowance = 6;
// Of a side that is wrong, the first tensor that is off by as many is where it begins.
constexpr double kRmsAllowanceOfWrong = 4;

// The most of an inherited error that counts as rounding.
struct RoundingBound {
  double relative = 0;  // of the values
  double largest = 0;   // of one value, over the tensor's RMS
  double rms = 0;       // of the RMS, where it is all that is known
};

class RoundingNoise {
 public:
  // Both with values, fed the same tokens.
  RoundingNoise(const trace::EngineRun& oracle, const trace::EngineRun& rounded);
  // Adds a measurement: the larger noise of this one and of those before counts.
  void include(const trace::EngineRun& oracle, const trace::EngineRun& rounded);
  // Adds a sample of what rounding does to RMS alone. From the first sample on, RMS have a bound of their
  // own. Both runs were given what is executed before `known_before`, so its RMS are not sampled. All samples
  // have one `known_before`.
  void include_rms(const trace::EngineRun& oracle, const trace::EngineRun& rounded,
                   const std::optional<trace::TensorId>& known_before = std::nullopt);

  // relative, largest: kRoundingAllowance times the largest distance of this stage in any pass, up to this layer. rms:
  // kRmsAllowance times rms_deviation(), and no more than `relative`, which alone counts where there is no sample.
  // nullopt for a stage that was not seen.
  std::optional<RoundingBound> bound(const trace::TensorId& id) const;
  // Standard deviation of the tensor's RMS, over the RMS. A change of the RMS is the mean of what the tokens
  // contribute. Tokens of all samples, of the passes up to this one, give their variance: the largest of any layer up
  // to this one, the larger the fewer tokens there are; but no less than what the samples of this tensor moved as a
  // whole, since tokens may move together. In passes behind that of `known_before` only those count. nullopt where
  // there is no sample of it.
  std::optional<double> rms_deviation(const trace::TensorId& id) const;
  // Per row of logits, RMS.
  const std::vector<double>& logits() const { return logits_; }

 private:
  struct Distance {
    double relative = 0, largest = 0;
  };
  struct RmsSamples {
    size_t n_samples = 0, n_tokens = 0;  // tokens of one sample
    double of_tokens = 0;                // sum of squares of each token's contribution
    double of_tensor = 0;                // sum of squares of the samples' own changes
  };
  std::map<trace::Stage, std::map<int, Distance>> by_stage_;
  std::map<trace::Stage, std::map<trace::TensorId, RmsSamples>> rms_;
  std::optional<trace::TensorId> known_before_;
  std::vector<double> logits_;
};

}  // namespace tern::compare
