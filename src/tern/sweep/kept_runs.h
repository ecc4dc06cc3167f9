// Kept runs, which make a sweep resumable. Every engine run that has ended is kept in a hidden folder of the output
// directory until the whole sweep has ended. Runs that look at another run's values stage by stage are short, and are
// not kept. A resumed sweep goes through the same steps as any other, and takes over the kept run where an engine would
// run. So no other code distinguishes new runs from old ones, and a kill loses at most the run in progress.
//
// <output_dir>/.tern-journal/
//   journal.jsonl                       what was asked for, and a line for each run (journal.h)
//   <section>/<run>/run, traces, output.txt
//                                       its files, as hard links where the file system has them: no second copy
// A section is a scenario, or the check of the reference.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tern/arbiter/arbiter.h"
#include "tern/base/error.h"
#include "tern/base/json.h"
#include "tern/outcome/sweep_outcome.h"
#include "tern/peer/peer.h"
#include "tern/sweep/journal.h"

namespace tern::sweep {

class KeptRuns {
 public:
  // No scenario can have this name.
  static constexpr const char* kReferenceCheck = "reference check";

  // For an output directory that this process has claimed (output_folder.h). `asked` is everything that has a say in
  // the sweep's result. With `resume`, what an earlier sweep has kept here will be taken over; without, it is removed.
  // What another tern kept is removed, too (see why_anew()). Errors: kUsage, naming the item, where the earlier sweep
  // was asked for something else; kInvalidInput for a journal that is damaged or of a higher format; kIo.
  static Result<std::unique_ptr<KeptRuns>> open(const std::filesystem::path& output_dir, const Json& asked,
                                                bool resume);
  KeptRuns(const KeptRuns&) = delete;
  KeptRuns& operator=(const KeptRuns&) = delete;

  // Why an earlier sweep was removed instead of taken over; empty: it was not.
  const std::string& why_anew() const { return why_anew_; }
  // "scenario1/rs-run", ...: what can be taken over.
  std::vector<std::string> earlier() const;

  // The runs that follow belong to this scenario, or to kReferenceCheck. A section's runs are distinguished by the
  // names of their run folders.
  void enter(const std::string& section);

  // `engine`, with its runs kept and taken over; recordings stay as they are, since they run nothing. `variant`: what
  // else than `asked` decides what it computes. The peer is not to be run after this is gone.
  std::unique_ptr<peer::Peer> keep(std::unique_ptr<peer::Peer> engine, std::string variant = "");
  void keep(arbiter::OracleEngines& oracles);

  // Whether a sweep that stops now has anything to resume.
  bool has_any() const { return n_kept_ > 0; }
  // What was taken over so far.
  const outcome::Resumption& resumption() const { return resumption_; }

  // The sweep is whole: nothing of this is needed any more. Errors: kIo.
  Status remove();

 private:
  class KeepingPeer;

  KeptRuns(std::filesystem::path folder, const Json& asked) : folder_(std::move(folder)), asked_(asked) {}
  Status read_earlier();
  Result<peer::PeerRun> run(const peer::Peer& engine, const std::string& variant, const peer::RunRequest& request);
  Result<peer::PeerRun> take_over(KeptRun kept, const Json& asked, const peer::RunRequest& request) const;
  Status record(const peer::PeerRun& run, Json asked, const peer::RunRequest& request);
  std::filesystem::path place_of(const peer::RunRequest& request) const;

  std::filesystem::path folder_;
  Json asked_;
  std::map<std::string, KeptRun> earlier_;  // not yet taken over
  bool has_head_ = false;                   // the journal's first line is written
  size_t n_kept_ = 0;
  std::string why_anew_;
  std::string section_;
  outcome::Resumption resumption_;
};

}  // namespace tern::sweep
