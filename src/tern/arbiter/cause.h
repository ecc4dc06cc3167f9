// Why a side is wrong: from its first wrong tensor and what the oracle computes with one fault or another. Private to
// arbiter/; pure.
#pragma once

#include <optional>
#include <string>

#include "tern/arbiter/arbiter.h"
#include "tern/trace/run_folder.h"
#include "tern/trace/safetensors.h"
#include "tern/trace/stage.h"

namespace tern::arbiter {

class Explanation {
 public:
  // `exact`: what the side should have computed, from its own inputs where it has values. `arbitration`: with the side
  // as the subject, which is wrong. `place`: a tensor that is known to be wrong by itself, its inputs having been
  // right; nullopt where the first wrong one may have inherited what is wrong with it. `known_before`: what is executed
  // before it is right; nullopt where that is not known. All must outlive this.
  Explanation(const compare::RunToArbitrate& wrong, const trace::EngineRun& exact, const compare::RoundingNoise& noise,
              const compare::Arbitration& arbitration, const std::optional<trace::TensorId>& place,
              const std::optional<trace::TensorId>& known_before);

  // Whether the fault could be the cause. It could not where the side has computed right one of the stages that the
  // fault always changes, in the pass and layer of the first wrong tensor. Nor could it where the place is known, and
  // is of a stage that the fault leaves alone.
  bool is_possible(const OracleEngines::Fault& fault) const;
  // The same, and notes the answer: the conclusion lists what was tried and what was ruled out.
  bool could_be(const OracleEngines::Fault& fault);
  // Whether a fault with which the oracle makes these values of the first wrong tensor could be the cause. try_fault()
  // would pass over any other.
  bool explains_first(const trace::Safetensors::Entry& first_with_fault) const;
  // Whether a fault explains all that is wrong: no other can explain more.
  bool is_settled() const { return best_ && best_->share() == 1; }
  // `exact_with_fault`: as `exact`, with the fault.
  void try_fault(const OracleEngines::Fault& fault, const trace::EngineRun& exact_with_fault);
  // Whether the best fault mends more than this share of what is wrong with or without it.
  bool mends_more_than(double share) const { return best_ && best_->share() > share; }
  // The faults that were asked about: an array, as in outcome::Cause.
  const Json& tried() const { return tried_; }
  outcome::Cause conclude() const;

 private:
  // How well one fault explains the side.
  struct Fit {
    const OracleEngines::Fault* fault = nullptr;
    size_t n_held = 0;       // tensors that could be held against it
    size_t n_explained = 0;  // of them, within rounding
    size_t n_wrong = 0;      // wrong without the fault, or with it
    size_t n_mended = 0;     // of them, wrong only without it
    double error_at_first = 0;
    std::vector<std::string> left_wrong = {};  // wrong with the fault
    std::optional<trace::TensorId> first_changed = {};
    double share() const { return n_wrong == 0 ? 0 : static_cast<double>(n_mended) / static_cast<double>(n_wrong); }
  };
  compare::Arbitration under(const trace::EngineRun& exact_with_fault) const;
  // Whether the first wrong tensor, where its RMS was held to its own rounding, is as near to what a fault makes of it.
  bool is_near_first(const trace::TraceRecord& with_fault) const;
  outcome::Cause unknown() const;
  std::string seen() const;
  double error_of_first() const;

  compare::RunToArbitrate wrong_;
  const trace::EngineRun& exact_;
  const compare::RoundingNoise& noise_;
  const compare::Arbitration& arbitration_;
  std::optional<trace::TensorId> place_, known_before_;
  trace::TensorId first_;
  Json tried_ = Json::array();
  std::optional<Fit> best_;
};

// Two sides that differ although neither is wrong; `arbitration` is theirs. The place is the first tensor whose bits
// differ, and the confidence the share of such tensors that the oracle could hold on both sides by their values.
// nullopt where no bits differ, or where it could not do so with the first.
std::optional<outcome::Cause> cause_of_rounding(const trace::EngineRun& subject, const trace::EngineRun& reference,
                                                const compare::Arbitration& arbitration);

// Where the two sides' hashes part from equal inputs, and nothing shows which is wrong (side_is_unknown): "unknown",
// with the RMS of both.
outcome::Cause cause_of_parting(const compare::Arbitration& arbitration);

}  // namespace tern::arbiter
