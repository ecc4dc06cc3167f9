// Asks the oracle about a run: evaluates the same model on the same tokens, measures what rounding can do, and where a
// side is wrong looks for a fault with which the oracle computes what that side did. The oracle runs as a child process
// like any engine, so nothing here knows how it works.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/interrupt.h"
#include "tern/compare/outcome.h"
#include "tern/peer/peer.h"

namespace tern::arbiter {

struct OracleEngines {
  std::unique_ptr<peer::Peer> plain;
  std::unique_ptr<peer::Peer> rounded;  // every stage rounded to few bits
  struct Fault {
    std::string id;  // a cause id of the contract
    std::unique_ptr<peer::Peer> engine;
  };
  std::vector<Fault> faults;  // the oracle with one known fault each
};

struct Question {
  std::filesystem::path model, tokenizer;
  std::vector<int32_t> prompt_tokens;
  std::vector<int32_t> fed_tokens;  // of the decode steps
  int threads = 1;
  double timeout_s = 180;
  std::filesystem::path folder;  // exists; gets oracle-run/ and, while this works, others
  const Interrupt* interrupt = nullptr;

  // What `run` was given: its prompt and, in its decode steps, the teacher's or its own tokens.
  static Question about(const trace::EngineRun& run);
};

class Arbiter {
 public:
  // Runs the oracle twice. Errors: kEngine with the sentence of a run that failed; kIo.
  static Result<Arbiter> ask(const OracleEngines& engines, Question question);

  const trace::EngineRun& oracle() const { return *oracle_.run; }
  const compare::RoundingNoise& noise() const { return noise_; }

  // `wrong`: a run that arbitrate() found wrong from `first` on; its values, or at least its RMS, are held against each
  // fault in turn. The id is "unknown" where none explains it. Errors: kIo, and kEngine when interrupted.
  Result<compare::Cause> explain(const trace::EngineRun& wrong, const compare::FirstWrong& first) const;

 private:
  Arbiter(const OracleEngines& engines, Question question, peer::PeerRun oracle, compare::RoundingNoise noise)
      : engines_(&engines), question_(std::move(question)), oracle_(std::move(oracle)), noise_(std::move(noise)) {}

  const OracleEngines* engines_;
  Question question_;
  peer::PeerRun oracle_;
  compare::RoundingNoise noise_;
};

}  // namespace tern::arbiter
