#include "tern/app/commits_search.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <utility>

#include "tern/app/commit_step.h"
#include "tern/app/git_worktree.h"
#include "tern/app/live_reference.h"
#include "tern/app/own_engine.h"
#include "tern/app/repro.h"
#include "tern/base/child_process.h"
#include "tern/base/json_format.h"
#include "tern/base/scratch_folder.h"

namespace tern::app {
namespace fs = std::filesystem;
namespace {

using bisect::Outcome;

Json to_json(const TriedCommit& tried) {
  Json json = {{"commit", tried.commit}, {"title", tried.title}};
  json.update(to_json(tried.result));
  return json;
}

Result<TrialResult> read_report(const fs::path& path) {
  TERN_ASSIGN_OR_RETURN(const Json json, read_json_file(path));
  TERN_RETURN_IF_ERROR(read_format(Document::kCommand, json, path.string()));
  TrialResult result;
  TERN_ASSIGN_OR_RETURN(const std::string verdict, json_string(json, "verdict", path.string()));
  TERN_ASSIGN_OR_RETURN(result.reason, json_string(json, "reason", path.string()));
  for (const Outcome outcome : {Outcome::kGood, Outcome::kBad, Outcome::kUntestable}) {
    result.outcome = verdict == bisect::outcome_name(outcome) ? outcome : result.outcome;
  }
  if (json.contains("first_divergence") && json["first_divergence"].is_string()) {
    result.first_divergence = json["first_divergence"];
  }
  return result;
}

class CommitSearch {
 public:
  CommitSearch(const CommitsOptions& options, fs::path program, const Interrupt& interrupt, const GitWorktree& worktree,
               fs::path scratch)
      : options_(options),
        program_(std::move(program)),
        interrupt_(interrupt),
        worktree_(worktree),
        scratch_(std::move(scratch)) {}

  Result<FoundCommits> find(const std::string& good, const std::string& bad) {
    if (options_.trial.reference.empty()) {
      TERN_RETURN_IF_ERROR(try_commit({"--record", reference().string()}, Outcome::kGood, "the good commit"));
    }
    TERN_RETURN_IF_ERROR(try_commit(reference_words(), Outcome::kGood, "the good commit"));
    TERN_RETURN_IF_ERROR(worktree_.git({"reset", "--hard", "--quiet"}));
    TERN_RETURN_IF_ERROR(worktree_.git({"checkout", "--quiet", "--detach", bad}));
    TERN_RETURN_IF_ERROR(try_commit(reference_words(), Outcome::kBad, "the bad commit"));
    TERN_RETURN_IF_ERROR(worktree_.git({"reset", "--hard", "--quiet"}));
    TERN_RETURN_IF_ERROR(worktree_.git({"bisect", "start", bad, good}));
    while (true) {
      TERN_ASSIGN_OR_RETURN(answer_.candidates, first_bad_commits());
      if (!answer_.candidates.empty()) {
        return std::move(answer_);
      }
      TERN_RETURN_IF_ERROR(step());
    }
  }

 private:
  fs::path reference() const { return scratch_ / "reference"; }
  std::vector<std::string> reference_words() const {
    if (options_.trial.reference.empty()) {
      return {"--reference", peer::pack_spec(reference())};
    }
    std::vector<std::string> words = {"--reference", options_.trial.reference};
    for (const std::string& setting : options_.trial.reference_settings) {
      words.insert(words.end(), {"--reference-option", setting});
    }
    return words;
  }

  // One step of `git bisect run`.
  Status step() {
    TERN_ASSIGN_OR_RETURN(const TrialResult result, try_checked_out(reference_words()));
    TERN_RETURN_IF_ERROR(worktree_.git({"reset", "--hard", "--quiet"}));  // what the build changed
    const char* const word = result.outcome == Outcome::kGood  ? "good"
                             : result.outcome == Outcome::kBad ? "bad"
                                                               : "skip";
    TERN_ASSIGN_OR_RETURN(const GitOutput output, worktree_.run({"bisect", word}));
    TERN_ASSIGN_OR_RETURN(const std::vector<std::string> found, first_bad_commits());
    if (output.exit_code != 0 && found.empty()) {
      return fail(ErrorCode::kIo, fmt::format("git bisect {}", word), output.text);
    }
    return {};
  }

  // From git's own log: its last lines when it has ended.
  Result<std::vector<std::string>> first_bad_commits() const {
    TERN_ASSIGN_OR_RETURN(const std::string log, worktree_.git({"bisect", "log"}));
    std::vector<std::string> found;
    for (const std::string_view mark : {"# first bad commit: [", "# possible first bad commit: ["}) {
      for (size_t at = log.find(mark); at != std::string::npos; at = log.find(mark, at + 1)) {
        const size_t begin = at + mark.size();
        found.push_back(log.substr(begin, log.find(']', begin) - begin));
      }
    }
    return found;
  }

  Status try_commit(const std::vector<std::string>& words, Outcome wanted, const char* name) {
    TERN_ASSIGN_OR_RETURN(const TrialResult result, try_checked_out(words));
    if (result.outcome != wanted) {
      return fail(
          ErrorCode::kNoVerdict, name,
          fmt::format("is {}, so there is nothing to find: {}", bisect::outcome_name(result.outcome), result.reason),
          "--exact, --tolerant and --crash-is decide what counts");
    }
    return {};
  }

  Result<TrialResult> try_checked_out(const std::vector<std::string>& words) {
    TERN_ASSIGN_OR_RETURN(const std::string commit, worktree_.git({"rev-parse", "HEAD"}));
    TERN_ASSIGN_OR_RETURN(const std::string title, worktree_.git({"log", "-1", "--format=%s"}));
    ChildCommand command;
    command.argv = step_words();
    command.argv.insert(command.argv.end(), words.begin(), words.end());
    // A killed step leaves its files in scratch_, which is removed at the end.
    command.environment = {{"TMPDIR", scratch_.string()}};
    command.working_dir = worktree_.path();
    command.timeout_s = options_.build_timeout_s + 30.0 * 24 * 3600;  // it has limits of its own
    command.interrupt = &interrupt_;
    std::error_code ignored;
    fs::remove(report(), ignored);
    TERN_ASSIGN_OR_RETURN(const ChildResult ended, run_child(command));
    if (interrupt_.signal() != 0) {
      return fail(ErrorCode::kEngine, "tern bisect", "interrupted");
    }
    if (ended.exit_code.value_or(kAbortSearch) >= 128) {
      return fail(ErrorCode::kNoVerdict, "at commit " + commit.substr(0, 10), last_line(ended.output_tail));
    }
    TERN_ASSIGN_OR_RETURN(TrialResult result, read_report(report()));
    spdlog::info("{} {}: {}: {} ({:.1f} s)", commit.substr(0, 10), printable(title, 60),
                 bisect::outcome_name(result.outcome), printable(result.reason, 300), ended.wall_s);
    answer_.tried.push_back({commit, title, result});
    return result;
  }

  fs::path report() const { return scratch_ / "report.json"; }

  static std::string last_line(std::string text) {
    while (text.ends_with('\n')) {
      text.pop_back();
    }
    return text.substr(text.rfind('\n') + 1);
  }

  std::vector<std::string> step_words() const {
    const TrialOptions& trial = options_.trial;
    std::vector<std::string> words = {program_.string(),
                                      "bisect",
                                      "step",
                                      "--model",
                                      trial.model,
                                      "--tokenizer",
                                      trial.tokenizer,
                                      "--subject",
                                      trial.subject,
                                      "--max-tokens",
                                      std::to_string(trial.max_tokens),
                                      "--crash-is",
                                      trial.crash_is,
                                      "--report",
                                      report().string(),
                                      "--build-timeout",
                                      fmt::format("{}", options_.build_timeout_s)};
    const auto add = [&words](const char* option, const std::string& value) {
      if (!value.empty()) {
        words.push_back(fmt::format("{}={}", option, value));
      }
    };
    add("--build", options_.build);
    for (const std::string& setting : trial.subject_settings) {
      add("--subject-option", setting);
    }
    add("--threads", trial.setting.threads);
    add("--timeout", trial.setting.timeout);
    if (trial.token_ids.empty()) {
      words.push_back("--prompt=" + trial.prompt);
    } else {
      add("--token-ids", fmt::format("{}", fmt::join(trial.token_ids, ",")));
    }
    if (trial.exact || trial.tolerant) {
      words.emplace_back(trial.exact ? "--exact" : "--tolerant");
    }
    return words;
  }

  const CommitsOptions& options_;
  fs::path program_;
  const Interrupt& interrupt_;
  const GitWorktree& worktree_;
  fs::path scratch_;
  FoundCommits answer_;
};

// Paths as they are seen from the worktree, and what every step would refuse.
Result<CommitsOptions> settled(CommitsOptions options) {
  TrialOptions& trial = options.trial;
  TERN_RETURN_IF_ERROR(run_setting(trial.setting));
  trial.tokenizer = absolute_path(tokenizer_for(trial.model, trial.tokenizer));
  trial.model = absolute_path(trial.model);
  TERN_RETURN_IF_ERROR(open_model_and_tokenizer(trial.model, trial.tokenizer));
  const peer::EngineRegistry registry = engine_registry();
  TERN_ASSIGN_OR_RETURN(const peer::EngineSpec subject, registry.parse(trial.subject, "--subject"));
  const peer::EngineScheme& scheme = *registry.find(subject.scheme);
  if (!scheme.traits.runs || scheme.argument.empty()) {
    return fail(ErrorCode::kUsage, "--subject " + printable(trial.subject), "does not depend on what is checked out",
                "name what a commit builds: command:'./engine', bitnet.cpp:. or llama.cpp:.");
  }
  if (!trial.reference.empty()) {
    TERN_ASSIGN_OR_RETURN(trial.reference, spec_from_anywhere(trial.reference, "--reference"));
  }
  return options;
}

}  // namespace

const TriedCommit* FoundCommits::find(const std::string& commit) const {
  const auto same = [&](const TriedCommit& one) { return one.commit == commit; };
  const auto found = std::find_if(tried.rbegin(), tried.rend(), same);
  return found == tried.rend() ? nullptr : &*found;
}

Result<FoundCommits> find_commits(const CommitsOptions& typed, const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(const CommitsOptions options, settled(typed));
  std::error_code error;
  if (!fs::is_directory(options.repository, error)) {
    return fail(ErrorCode::kIo, "--repo " + printable(options.repository, 1000), "there is no such folder");
  }
  TERN_ASSIGN_OR_RETURN(const ScratchFolder temporary, ScratchFolder::in_temporary_folder());
  const fs::path scratch = absolute_path(temporary.path().string());  // git is started elsewhere
  TERN_ASSIGN_OR_RETURN(const fs::path program, own_program());
  const auto resolve = [&](const char* option, const std::string& revision) -> Result<std::string> {
    TERN_ASSIGN_OR_RETURN(
        const GitOutput output,
        run_git(options.repository, {"rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}"},
                scratch));
    return output.exit_code == 0
               ? Result<std::string>(output.text)
               : fail(ErrorCode::kUsage, fmt::format("{} {}", option, printable(revision)),
                      "is no commit of the repository " + options.repository, output.text.empty() ? "" : output.text);
  };
  TERN_ASSIGN_OR_RETURN(const std::string good, resolve("--good", options.good));
  TERN_ASSIGN_OR_RETURN(const std::string bad, resolve("--bad", options.bad));
  TERN_ASSIGN_OR_RETURN(const std::unique_ptr<GitWorktree> worktree,
                        GitWorktree::add(options.repository, good, scratch));
  CommitSearch commits(options, program, interrupt, *worktree, scratch);
  TERN_ASSIGN_OR_RETURN(FoundCommits found, commits.find(good, bad));
  for (const std::string& commit : found.candidates) {
    const auto shown = worktree->git({"log", "-1", "--format=%H%n  %an, %ad%n  %s", "--date=iso", commit});
    found.shown.push_back(shown ? *shown : commit);
  }
  return found;
}

std::string commits_text(const FoundCommits& found) {
  std::string text = found.candidates.size() == 1
                         ? "first bad commit:\n"
                         : "the first bad commit is one of these; those that are not bad could not be tested:\n";
  for (size_t i = 0; i < found.candidates.size(); ++i) {
    text += found.shown[i] + "\n";
    if (const TriedCommit* tried = found.find(found.candidates[i])) {
      if (!tried->result.first_divergence.empty()) {
        text += fmt::format("  first divergence: {}\n", printable(tried->result.first_divergence));
      }
      text +=
          fmt::format("  {}: {}\n", bisect::outcome_name(tried->result.outcome), printable(tried->result.reason, 1000));
    }
  }
  return text;
}

Json to_json(const FoundCommits& found) {
  const bool is_one = found.candidates.size() == 1;
  const TriedCommit* tried = found.find(found.candidates.front());
  Json json = {{"first_bad", is_one ? Json(found.candidates.front()) : Json(nullptr)},
               {"candidates", found.candidates},
               {"reason", is_one && tried != nullptr ? Json(tried->result.reason) : Json(nullptr)},
               {"first_divergence", is_one && tried != nullptr ? to_json(tried->result)["first_divergence"] : Json()},
               {"tried", Json::array()}};
  for (const TriedCommit& one : found.tried) {
    json["tried"].push_back(to_json(one));
  }
  return json;
}

}  // namespace tern::app
