// Asks the oracle about a run: evaluates the same model on the same tokens, measures what rounding can do, and where a
// side is wrong looks for a fault with which the oracle computes what that side did. The oracle runs as a child process
// like any engine, so nothing here knows how it works.
#pragma once

#include <filesystem>
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
    std::string id;  // a cause id of the contract
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
  // fault in turn. The id is "unknown" where none explains it. Errors: kIo, and kEngine when interrupted.
  Result<Opinion> judge(const trace::EngineRun& subject, const trace::EngineRun* reference,
                        std::string_view subject_name = "subject") const;

 private:
  Result<compare::Cause> explain(const trace::EngineRun& wrong, const trace::TensorId& first,
                                 double error_at_first) const;
  Arbiter(const OracleEngines& engines, Question question, peer::PeerRun oracle, compare::RoundingNoise noise)
      : engines_(&engines), question_(std::move(question)), oracle_(std::move(oracle)), noise_(std::move(noise)) {}

  const OracleEngines* engines_;
  Question question_;
  peer::PeerRun oracle_;
  compare::RoundingNoise noise_;
};

}  // namespace tern::arbiter
