// Isolation: the errors that a run's stages make themselves, apart from those they inherit. The oracle computes each
// stage from what the run recorded of the stages before it (trace/inputs.h). What the run recorded of the stage itself
// is held against that, and against what rounding does to the very same inputs. Pure.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tern/trace/run_folder.h"

namespace tern::compare {

// How far one tensor is from what it should be.
struct OracleError {
  // |x - oracle|_2 / |oracle|_2; infinite where x is not finite. Without x's values only its RMS is known, and then
  // this is the least that it can be: | rms(x) - rms(oracle) | / rms(oracle), by the triangle inequality.
  double relative = 0;
  bool is_lower_bound = false;
  std::optional<double> largest;  // max |x - oracle| / rms(oracle); absent without values
};

// A stage is wrong if its own error is more than this many times its noise floor. docs/validation-framework.md
// says why.
constexpr double kFloorAllowance = 4;

// What rounding alone explains of one tensor's own error. Never 0: no float32 is nearer to a number than 2^-24 of it.
struct NoiseFloor {
  double relative = 0;
  double largest = 0;  // of one value, over the tensor's RMS
};

struct LocalError {
  OracleError error;
  NoiseFloor floor;
  double multiple() const;  // of its floor, by whichever figure is further beyond it
  bool is_wrong() const { return multiple() > kFloorAllowance; }
};

class Isolation {
 public:
  // All runs have values and were fed what `run` was fed; `exact` and `rounded` were given the values of `run` as
  // inputs. `exact`: the oracle. `rounded`: evaluations that are right and round differently. The floor of a tensor is
  // the largest distance of one of these from the exact one. It is no less than is usual for the stage, since a tensor
  // may happen to round well.
  Isolation(const trace::EngineRun& run, const trace::EngineRun& exact,
            const std::vector<const trace::EngineRun*>& rounded);

  // The errors of other computations on the same inputs, by the same floors: of the run itself, held against the oracle
  // with a fault; or of another engine, held against what the run made of the inputs.
  Isolation under(const trace::EngineRun& run, const trace::EngineRun& exact) const;

  // The same of one tensor alone, of which the oracle makes `should`; `exact` says which rows of logits belong to which
  // pass. nullopt where there is no floor, or `run` has no values of it.
  std::optional<LocalError> under(const trace::EngineRun& run, const trace::EngineRun& exact,
                                  const trace::TraceRecord& record, std::span<const float> should) const;

  // Null where the run has no values of that tensor, or its inputs were not finite.
  const LocalError* find(const trace::TensorId& id) const;
  const std::map<trace::TensorId, LocalError>& errors() const { return errors_; }

 private:
  Isolation() = default;
  void hold(const trace::EngineRun& run, const trace::EngineRun& exact,
            const std::map<trace::TensorId, NoiseFloor>& floors);

  std::map<trace::TensorId, LocalError> errors_;
};

}  // namespace tern::compare
