// The third opinion: when two engines differ, which of them is wrong. Both are held against the oracle, a plain
// evaluation in double precision of the same model on the same tokens, and against what rounding explains. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tern/compare/compare_runs.h"

namespace tern::compare {

// How far one tensor is from the oracle's.
struct OracleError {
  // |x - oracle|_2 / |oracle|_2; infinite where x is not finite. Without x's values only its RMS is known, and then
  // this is the least that it can be: | rms(x) - rms(oracle) | / rms(oracle), by the triangle inequality.
  double relative = 0;
  bool is_lower_bound = false;
  std::optional<double> largest;  // max |x - oracle| / rms(oracle); absent without values
};

struct StageArbitration {
  trace::TensorId id;
  std::optional<OracleError> subject, reference;  // absent where the side has no such tensor
  OracleError bound;                              // the most that counts as rounding
  bool subject_wrong = false, reference_wrong = false;
};

enum class Wrong { kNeither, kSubject, kReference, kBoth };
// "neither", "subject", "reference", "both"
std::string_view wrong_name(Wrong wrong);

// The first tensors in execution order that are further from the oracle than rounding explains.
struct FirstWrong {
  std::optional<trace::TensorId> prefill, decode;
  std::optional<trace::TensorId> first() const { return prefill ? prefill : decode; }
};

struct Arbitration {
  std::vector<StageArbitration> stages;  // in the oracle's order
  FirstWrong subject, reference;
  size_t n_subject = 0, n_reference = 0;  // tensors that could be held against the oracle, of stages.size()
  Wrong wrong() const;
  const StageArbitration* find(const trace::TensorId& id) const;  // null where the oracle has no such tensor
  std::string reason;                                             // one sentence with the figures
};

// A tensor is wrong if it is further from the oracle than this many times what the rounded evaluation is.
// docs/validation-framework.md says why.
constexpr double kRoundingAllowance = 4;

// What rounding alone can do in this model on these tokens: how far the oracle moves when every stage is rounded to few
// bits. int8 activations turn the smallest error into a whole step now and then, so a bound must be measured.
class RoundingNoise {
 public:
  // Both with values, fed the same tokens.
  RoundingNoise(const trace::EngineRun& oracle, const trace::EngineRun& rounded);

  // The most that counts as rounding: kRoundingAllowance times the largest distance of this stage in any pass, up to
  // this layer. nullopt for a stage that was not seen.
  std::optional<OracleError> bound(const trace::TensorId& id) const;
  // Per row of logits, RMS.
  const std::vector<double>& logits() const { return logits_; }

 private:
  std::map<trace::Stage, std::map<int, OracleError>> by_stage_;
  std::vector<double> logits_;
};

// `oracle`: with values, fed what the reference was fed (or the subject, where there is no reference). `reference` may
// be null. Passes whose inputs were not the oracle's are left out. `subject_name`: for the reason.
Arbitration arbitrate(const trace::EngineRun& subject, const trace::EngineRun* reference,
                      const trace::EngineRun& oracle, const RoundingNoise& noise,
                      std::string_view subject_name = "subject");

}  // namespace tern::compare
