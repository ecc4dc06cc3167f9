// The third opinion: when two engines differ, which of them is wrong. Both are held against the oracle, a plain
// evaluation in double precision of the same model on the same tokens, and against what rounding explains: stage by
// stage where a side has recorded values (isolation.h), otherwise with all that a stage has inherited. Pure.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tern/compare/compare_runs.h"
#include "tern/compare/execution_order.h"
#include "tern/compare/isolation.h"
#include "tern/compare/rounding_noise.h"

namespace tern::compare {

// What one side computed of a tensor, held against the oracle.
struct AgainstOracle {
  std::optional<OracleError> error;  // with what was inherited; absent where the side has no such tensor
  std::optional<LocalError> local;   // the stage's own; where there is one, it decides
  bool wrong = false;

  bool is_there() const { return error || local; }
};

struct StageArbitration {
  trace::TensorId id;
  Sided<AgainstOracle> sides;
  RoundingBound bound;
  // How far apart the two sides' operations are on the same inputs, where one was given the other's, as a multiple of
  // the noise floor on these. Two right sides may be apart by the sum of their errors.
  std::optional<LocalError> on_same_inputs = {};
};

// kUnknown: one of the two, and nothing shows which.
enum class Wrong { kNeither, kSubject, kReference, kBoth, kUnknown };
// "neither", "subject", "reference", "both", "not known"
std::string_view wrong_name(Wrong wrong);

// The first tensors in execution order that are further from the oracle than rounding explains.
struct FirstWrong {
  std::optional<trace::TensorId> prefill, decode;
  // Where the figures of first() show nothing: the first tensor behind it that is wrong by its own figures. `why` is
  // then a clause that states why first() is wrong.
  std::optional<trace::TensorId> shown_at = {};
  std::string why = {};
  // What is executed before first() is equal by hash to the other side's: nothing before it is the cause.
  bool has_equal_inputs = false;

  // Whether first() is wrong by itself, although its figures show nothing or hold what was inherited.
  bool is_placed() const { return shown_at || has_equal_inputs; }
  std::optional<trace::TensorId> first() const { return prefill ? prefill : decode; }
  std::optional<trace::TensorId> shown() const { return shown_at ? shown_at : first(); }
};

// Where two sides that are held to equal hashes part: all that was executed before is equal.
struct Parting {
  trace::TensorId id;
  Sided<std::optional<double>> rms;
  std::optional<double> oracle_rms;
};

struct Arbitration {
  ExecutionOrder order;                  // of the subject, the reference and the oracle
  std::vector<StageArbitration> stages;  // in that order
  Sided<FirstWrong> first_wrong;
  Sided<size_t> n_held;           // tensors that could be held against the oracle, of stages.size()
  std::optional<Parting> parted;  // only of sides that are held to equal hashes
  bool side_is_unknown = false;   // `parted` proves one side wrong, and nothing shows which

  Wrong wrong() const;
  bool someone_is_wrong() const { return first_wrong_tensor().has_value(); }  // who, is known
  std::optional<trace::TensorId> first_wrong_tensor() const;                  // of either side
  const StageArbitration* find(const trace::TensorId& id) const;  // null where the oracle has no such tensor
  StageArbitration* find(const trace::TensorId& id);
  std::string reason;             // one sentence with the figures
  std::optional<Side> inputs_of;  // whose inputs on_same_inputs were measured on; absent where they were not
  std::string no_same_inputs;     // why they were not, where that is known

  // Records that the side is wrong from `id` on. `id` is executed before the first tensor that is known to be wrong,
  // and its own figures show nothing. `why`: a clause.
  void move_forward(Side side, const trace::TensorId& id, std::string why);
  void write_reason(bool has_reference, std::string_view subject_name);
};

// Puts what was measured in the place of the default tolerances.
void use_noise(const RoundingNoise& noise, CompareOptions& options);

// A run to arbitrate. `isolation` is null where the run has no values.
struct RunToArbitrate {
  const trace::EngineRun* run = nullptr;
  const Isolation* isolation = nullptr;
};

// `oracle`: with values, fed what the reference was fed (or the subject, where there is no reference).
// `runs.reference.run` may be null. Passes whose inputs were not the oracle's are left out. `subject_name`: for
// the reason.
// A wrong side without values is wrong from the tensor on at which its hashes part from those of a right side, under
// two conditions. That tensor is in the layer where the error shows. Rounding does not explain the difference: a stage
// of its kind was equal before, or the RMS is the same, as of values in another order or with other signs.
// `equal_hashes`: the two sides follow one arithmetic. The first tensor whose hash differs is then wrong on one side,
// where values do not show that both are right: on the one that is wrong by its RMS there or behind, or on one of the
// two.
Arbitration arbitrate(const Sided<RunToArbitrate>& runs, const trace::EngineRun& oracle, const RoundingNoise& noise,
                      std::string_view subject_name = "subject", bool equal_hashes = false);

// One tensor of a run alone, as arbitrate() holds it: against `should`, which the oracle makes of it with the inputs of
// `exact`. Nothing is there where arbitrate() would leave it out.
AgainstOracle hold_tensor(const RunToArbitrate& side, const trace::EngineRun& exact, const trace::TraceRecord& record,
                          std::span<const float> should, const RoundingNoise& noise);

// Fills in on_same_inputs. `taker` computed each stage from what `giver` recorded of the stages before it; `of_giver`
// holds the noise floors there. `inputs_of`: the giver's side.
void hold_on_same_inputs(const trace::EngineRun& taker, const trace::EngineRun& giver, const Isolation& of_giver,
                         Side inputs_of, Arbitration& arbitration);

}  // namespace tern::compare
