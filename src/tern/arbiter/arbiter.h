// Holds a run against the oracle, which evaluates the same model on the same tokens. Measures what rounding can do.
// Where a side is wrong, searches for a fault with which the oracle computes what that side did. The oracle runs as a
// child process like any engine, so nothing here depends on how it works.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/compare/arbitration.h"
#include "tern/outcome/cause.h"
#include "tern/peer/peer.h"
#include "tern/trace/run_folder.h"
#include "tern/trace/stage.h"

namespace tern::arbiter {

struct WrongSide;

struct OracleEngines {
  std::unique_ptr<peer::Peer> plain;
  std::unique_ptr<peer::Peer> rounded;  // every stage rounded to few bits
  // Rounded to fewer and to more bits: samples of what rounding does to the RMS of a side without values. May be empty.
  std::vector<std::unique_ptr<peer::Peer>> also_rounded;
  std::vector<std::unique_ptr<peer::Peer>> float32;  // as right as the plain one, in arithmetics that engines have
  struct Fault {
    std::string name;
    std::string cause;                         // an id as in outcome::Cause
    std::vector<trace::Stage> changes;         // where another one is wrong by itself, this fault is not the cause
    std::vector<trace::Stage> always_changes;  // where one of these is right, it is not either
    std::unique_ptr<peer::Peer> engine;
  };
  std::vector<Fault> faults;  // the oracle with one fault each, of those that nothing measures
  // The first words of a command that computes one tensor with each of many of these faults (first_tensor.h). Empty:
  // each fault takes a whole run.
  std::vector<std::string> one_tensor;
  // Measures the cause from the data. nullopt: it finds none, and the faults are tried. Empty: the faults are tried
  // at once. `tried`: what was held against the data, as in outcome::Cause. Errors: those of the model file and of
  // the oracle.
  std::function<Result<std::optional<outcome::Cause>>(const WrongSide& wrong, Json& tried)> estimate;
  // The cause where two sides made different ids of one prompt; nullopt where they did not. Empty: none is looked for.
  std::function<std::optional<outcome::Cause>(const std::filesystem::path& model, const trace::RunResult& subject,
                                              const trace::RunResult& reference)>
      estimate_prompts;
};

// What the decode steps of a run were fed: the teacher's tokens, else its own. The last one is fed to no step.
std::vector<int32_t> fed_tokens(const trace::RunResult& result);

struct Question : peer::RunSetting {
  // What `run` was given. Where it does not state its prompt's ids, `prompt_tokens` is empty.
  Question(const peer::RunSetting& setting, std::filesystem::path folder_of_runs, const trace::EngineRun& run);
  // A close look: only the neighbourhood of this tensor is computed, from what the run in `giver` recorded before it.
  void look_around(const trace::TensorId& id, std::filesystem::path giver);

  std::vector<int32_t> prompt_tokens;
  std::vector<int32_t> fed_tokens;  // of the decode steps
  std::filesystem::path folder;     // exists; gets oracle-run/ and, while this works, others
  // What is executed before this tensor is taken from the run in `inputs_from`: its inputs are known.
  std::string inputs_before;
  std::filesystem::path inputs_from;
  // In a model that is too large for the oracle, it computes only the neighbourhood of this tensor. Empty: all.
  std::string around;
  bool by_rms = false;        // a side has hashes and RMS only
  bool equal_hashes = false;  // the two sides are held to them
  int ubatch = 0;             // how many prompt tokens are evaluated at once, as in the run; 0: all
};

// A side that is wrong, and what it should have computed: from its own inputs where it has values.
struct WrongSide {
  const Question& question;
  const compare::RunToArbitrate& side;
  const trace::EngineRun& exact;
  const compare::RoundingNoise& noise;
  const compare::Arbitration& arbitration;  // with this side as the subject
};

struct Opinion {
  compare::Arbitration arbitration;
  std::optional<outcome::Cause> cause;  // where a side is wrong: of the one that is wrong first, if both are
  compare::Sided<std::optional<compare::Isolation>> isolation;  // of a side that has values
};

class Arbiter {
 public:
  // Runs the oracle twice. Errors: kEngine with the sentence of a run that failed; kIo.
  static Result<Arbiter> ask(const OracleEngines& engines, Question question);

  const trace::EngineRun& oracle() const { return *oracle_.run; }
  const compare::RoundingNoise& noise() const { return noise_; }

  // Runs compare::arbitrate(), for each side that has values stage by stage. Where a side is wrong, the cause is
  // measured from the data (OracleEngines::estimate). Where nothing measured explains it, what the side computed is
  // held against what the oracle computes with each fault in question, from the same inputs where there are any. Where
  // no fault explains it either, the id is "unknown", and the parameters have what was measured. Where neither side is
  // wrong and they differ all the same, the cause is the tokenization of the prompt, or rounding. `folder` gets the
  // oracle's runs about these two; empty: the question's folder does. It must exist, and judgements at the same time
  // need one each. Errors: kIo, and kEngine when interrupted.
  Result<Opinion> judge(const trace::EngineRun& subject, const trace::EngineRun* reference,
                        std::string_view subject_name = "subject", const std::filesystem::path& folder = {}) const;

  // The errors that a run's stages make themselves; nullopt where it has no values. `name`: for the oracle's folders.
  Result<std::optional<compare::Isolation>> isolate(const trace::EngineRun& run, const std::string& name) const;

 private:
  // A run, and what the oracle makes of its inputs; `exact` and `isolation` only where it has values.
  struct Examined {
    const trace::EngineRun* run = nullptr;
    Question question;  // with the prompt in the run's own pieces
    std::optional<peer::PeerRun> exact;
    std::optional<compare::Isolation> isolation;
    compare::RunToArbitrate to_arbitrate() const { return {run, isolation ? &*isolation : nullptr}; }
  };
  Result<Examined> examine(const trace::EngineRun& run, const std::string& name,
                           const std::filesystem::path& folder = {}) const;
  // `arbitration`: with the side in question as the subject.
  Result<outcome::Cause> explain(const Examined& wrong, const compare::Arbitration& arbitration) const;
  // Searches the list of faults, of those that no estimator measures. `measured`: a cause that leaves something
  // unexplained; it is returned where no fault mends more. `tried`: as in outcome::Cause.
  Result<outcome::Cause> explain_by_faults(const Examined& wrong, const compare::Arbitration& arbitration,
                                           const std::optional<outcome::Cause>& measured, Json& tried) const;
  Arbiter(const OracleEngines& engines, Question question, peer::PeerRun oracle, compare::RoundingNoise noise)
      : engines_(&engines), question_(std::move(question)), oracle_(std::move(oracle)), noise_(std::move(noise)) {}

  const OracleEngines* engines_;
  Question question_;
  peer::PeerRun oracle_;
  compare::RoundingNoise noise_;
};

}  // namespace tern::arbiter
