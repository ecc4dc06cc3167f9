// Asks the oracle about a run: evaluates the same model on the same tokens, measures what rounding can do, and where a
// side is wrong looks for a fault with which the oracle computes what that side did. The oracle runs as a child process
// like any engine, so nothing here knows how it works.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/compare/outcome.h"
#include "tern/peer/peer.h"

namespace tern::arbiter {

struct OracleEngines {
  std::unique_ptr<peer::Peer> plain;
  std::unique_ptr<peer::Peer> rounded;  // every stage rounded to few bits
  struct Fault {
    std::string name;
    std::string cause;                         // an id of the contract
    std::vector<trace::Stage> always_changes;  // where one of these is right, this fault is not the cause
    std::unique_ptr<peer::Peer> engine;
  };
  std::vector<Fault> faults;  // the oracle with one known fault each
};

// What the decode steps of a run were fed: the teacher's tokens, else its own. Nobody has seen the last one.
std::vector<int32_t> fed_tokens(const trace::RunResult& result);

struct Question : peer::RunSetting {
  // What `run` was given. Where it does not tell its prompt's ids, `prompt_tokens` is empty.
  Question(const peer::RunSetting& setting, std::filesystem::path folder_of_runs, const trace::EngineRun& run);

  std::vector<int32_t> prompt_tokens;
  std::vector<int32_t> fed_tokens;  // of the decode steps
  std::filesystem::path folder;     // exists; gets oracle-run/ and, while this works, others
  bool keep_runs = false;           // the others too, for the next judge()
};

struct Opinion {
  compare::Arbitration arbitration;
  std::optional<compare::Cause> cause;  // where a side is wrong: the subject's, if both are
};

class Arbiter {
 public:
  // Runs the oracle twice. Errors: kEngine with the sentence of a run that failed; kIo.
  static Result<Arbiter> ask(const OracleEngines& engines, Question question);

  const trace::EngineRun& oracle() const { return *oracle_.run; }
  const compare::RoundingNoise& noise() const { return noise_; }

  // compare::arbitrate(), and where a side is wrong, the cause: its values, or at least its RMS, are held against each
  // fault that is not ruled out by what it computed right. Where none explains it but few rows of one weight do, the id
  // is "weight_value", otherwise "unknown". Where the two sides saw different prompts, the cause is who tokenized them.
  // Errors: kIo, and kEngine when interrupted.
  Result<Opinion> judge(const trace::EngineRun& subject, const trace::EngineRun* reference,
                        std::string_view subject_name = "subject") const;

 private:
  // `wrong`: the run in question, held against the oracle as the arbitration's subject.
  Result<compare::Cause> explain(const trace::EngineRun& wrong, const compare::Arbitration& arbitration) const;
  bool could_be(const OracleEngines::Fault& fault, const compare::Arbitration& arbitration) const;
  Arbiter(const OracleEngines& engines, Question question, peer::PeerRun oracle, compare::RoundingNoise noise)
      : engines_(&engines), question_(std::move(question)), oracle_(std::move(oracle)), noise_(std::move(noise)) {}

  const OracleEngines* engines_;
  Question question_;
  peer::PeerRun oracle_;
  compare::RoundingNoise noise_;
  mutable std::map<std::string, std::optional<peer::PeerRun>> fault_runs_;  // empty: a fault that it cannot have
};

}  // namespace tern::arbiter
