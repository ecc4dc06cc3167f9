// One trial of a search for what made an engine wrong: the subject on one prompt, held against a reference, as good,
// bad or untestable. Shared by all of `tern bisect`.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tern/app/opened_model.h"
#include "tern/app/run_setting.h"
#include "tern/base/error.h"
#include "tern/base/json.h"
#include "tern/base/scratch_folder.h"
#include "tern/bisect/smallest_set.h"
#include "tern/outcome/scenario_outcome.h"
#include "tern/peer/engine_registry.h"

namespace tern::app {

struct TrialOptions {
  std::string model, tokenizer;
  std::string subject = "auto";
  std::string reference;                                          // empty: what the subject computes at the good end
  std::vector<std::string> subject_settings, reference_settings;  // "KEY=VALUE"
  std::string prompt = "Count: 1,2,3,";
  std::vector<int32_t> token_ids;
  int max_tokens = 4;
  RunSettingOptions setting;
  bool exact = false, tolerant = false;
  std::string crash_is = "skip";
};

struct TrialResult {
  bisect::Outcome outcome = bisect::Outcome::kUntestable;
  std::string reason;            // one sentence
  std::string first_divergence;  // "blk1/q_proj", "tokens"; empty where none is known
};
Json to_json(const TrialResult& result);

class Trials {
 public:
  // Opens the model, the subject and, where one was named, the reference. Errors: theirs.
  static Result<Trials> open(const TrialOptions& options, const Interrupt& interrupt);

  // What may differ from trial to trial: model, tokenizer, threads; and the subject.
  peer::RunSetting& setting() { return setting_; }
  Status choose_subject(const std::string& spec, const std::vector<std::string>& settings);
  // The settings that the subject has.
  const std::vector<peer::KnownSetting>& known_settings() const { return subject_.known_settings; }
  bool has_reference() const { return reference_.peer != nullptr; }
  const std::filesystem::path& scratch() const { return scratch_.path(); }

  // Runs the subject as it is set and makes it a pack at `folder`. Errors: kEngine, kNoVerdict where it gives no result
  // that others could be held against.
  Status record(const std::filesystem::path& folder) const;
  // The same, in a scratch folder; the pack then is the reference.
  Status record_reference();

  // Errors: kNoVerdict where the reference cannot answer; kEngine where it fails, and when interrupted.
  Result<TrialResult> run() const;

 private:
  Trials(const TrialOptions& options, ScratchFolder scratch, OpenedModel opened)
      : options_(options), scratch_(std::move(scratch)), opened_(std::move(opened)) {}
  Result<peer::OpenedEngine> open_engine(const peer::EngineSpec& spec, const std::string& option,
                                         const std::vector<std::string>& settings) const;
  Result<outcome::ScenarioOutcome> run_scenario(const peer::Peer* reference, const std::filesystem::path& folder) const;
  TrialResult judge(const outcome::ScenarioOutcome& outcome) const;

  TrialOptions options_;
  ScratchFolder scratch_;
  OpenedModel opened_;
  peer::RunSetting setting_;
  peer::OpenedEngine subject_, reference_;
};

// A search over changes whose ends are tried first: without any it has to be good, with all of them bad.
struct Found {
  std::vector<size_t> changes;  // all needed
  TrialResult bad;              // with these
  size_t n_trials = 0, n_untestable = 0;
};
using RunChanged = std::function<Result<TrialResult>(const std::vector<size_t>& changes)>;
// `names`: of all changes. Logs each trial. Errors: kNoVerdict where an end is not what it has to be; those
// of `run`.
Result<Found> find_changes(const std::vector<std::string>& names, const RunChanged& run);
Json to_json(const Found& found);
// The lines below the list of what was found.
std::string found_text(const Found& found);

}  // namespace tern::app
