// The one judgement of two runs: they are compared, the oracle arbitrates, and both together give the verdict. `tern
// sweep` and `tern compare` judge here, so that the same two runs come to the same verdict either way.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "tern/arbiter/arbiter.h"
#include "tern/compare/compare_runs.h"
#include "tern/trace/record.h"
#include "tern/trace/run_folder.h"
#include "tern/trace/stage.h"

namespace tern::arbiter {

struct RunsToJudge {
  const trace::EngineRun* subject = nullptr;    // never null
  const trace::EngineRun* reference = nullptr;  // null: there is none, and the oracle is all that the subject meets
  // What the subject generated on its own, where `subject` was fed the reference's tokens. Null: it was not.
  const trace::EngineRun* free_running = nullptr;
};

// What the oracle computes to arbitrate between these runs: the tokens of the reference, or of the subject where there
// is none. `prompt_tokens` is empty where neither run has its prompt's ids. `folder`: as in Question.
Question question_about(const peer::RunSetting& setting, const std::filesystem::path& folder, const RunsToJudge& runs);

struct JudgeOptions {
  compare::CompareOptions compare;
  const OracleEngines* oracle = nullptr;  // null: it does not arbitrate, see why_no_oracle
  std::string why_no_oracle;
  std::string distrust;             // why agreement with the reference proves nothing; empty: it does
  std::function<void()> on_oracle;  // called before the oracle runs; may be empty
};

class Judgement {
 public:
  // nullopt: there was no reference, and nothing is wrong.
  std::optional<compare::VerdictKind> verdict() const { return verdict_; }
  // One sentence with the figures: what the oracle finds first, then what the comparison does. Never empty.
  const std::string& reason() const { return reason_; }

  // Its verdict, reason and first_divergence are those of these two runs with the oracle's arbitration; distrust in the
  // reference changes verdict() alone. nullopt without a reference.
  std::optional<compare::RunComparison> comparison;
  std::optional<compare::Arbitration> arbitration;
  std::string no_arbitration;                                   // why there is none
  std::optional<outcome::Cause> cause;                          // where a side is wrong
  compare::Sided<std::optional<compare::Isolation>> isolation;  // of the runs that were arbitrated

  // Replaces the arbitration by one of other runs of the same sides: a close look at one place. Errors: as judge().
  Status arbitrate(const OracleEngines& engines, Question question, const RunsToJudge& runs);

 private:
  friend Result<Judgement> judge(const RunsToJudge& runs, Question question, const JudgeOptions& options);
  Status arbitrate(const OracleEngines& engines, Question question, const RunsToJudge& runs,
                   compare::CompareOptions& options);
  void conclude(const trace::Records& executed);  // the subject's

  // What follows from the two sides alone, without the oracle.
  std::optional<compare::VerdictKind> verdict_of_sides_;
  std::string reason_of_sides_;
  std::optional<trace::TensorId> first_divergence_of_sides_;
  std::string distrust_;

  std::optional<compare::VerdictKind> verdict_;
  std::string reason_;
};

// A proven difference has diverged, whichever side is wrong: one beyond tolerance, or an error of a side that is
// more than rounding explains. first_divergence is the first tensor that is wrong, where the oracle can say so,
// else the first that differs beyond its tolerance. Distrust in the reference takes the proof from agreement, not
// from a difference. An oracle that fails does not arbitrate, and no_arbitration says why. Errors: kIo; kEngine
// when interrupted.
Result<Judgement> judge(const RunsToJudge& runs, Question question, const JudgeOptions& options);

}  // namespace tern::arbiter
