// `tern bisect commits`: the first commit of a repository whose engine computes other than before. `git bisect` does
// the search, in a worktree of its own, so that the user's checkout stays as it is; `tern bisect step` tries each
// commit.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "tern/app/bisect_trial.h"
#include "tern/app/git_worktree.h"
#include "tern/app/live_reference.h"
#include "tern/app/own_engine.h"
#include "tern/app/repro.h"
#include "tern/app/until_interrupted.h"
#include "tern/base/child_process.h"
#include "tern/base/json_format.h"
#include "tern/cli/bisect.h"
#include "tern/cli/options.h"

namespace tern::cli {
namespace fs = std::filesystem;
namespace {

using bisect::Outcome;

struct CommitsOptions {
  app::TrialOptions trial;
  std::string good, bad, repository = ".", build;
  double build_timeout_s = 3600;
  bool json = false;
};

struct Tried {
  std::string commit, title;
  app::TrialResult result;
};
Json to_json(const Tried& tried) {
  Json json = {{"commit", tried.commit}, {"title", tried.title}};
  json.update(to_json(tried.result));
  return json;
}

struct Answer {
  std::vector<std::string> candidates;  // one: the first bad commit; several: those between could not be tested
  std::vector<Tried> tried;
  const Tried* find(const std::string& commit) const {
    const auto same = [&](const Tried& one) { return one.commit == commit; };
    const auto found = std::find_if(tried.rbegin(), tried.rend(), same);
    return found == tried.rend() ? nullptr : &*found;
  }
};

Result<app::TrialResult> read_report(const fs::path& path) {
  TERN_ASSIGN_OR_RETURN(const Json json, read_json_file(path));
  TERN_RETURN_IF_ERROR(read_format(Document::kCommand, json, path.string()));
  app::TrialResult result;
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
  CommitSearch(const CommitsOptions& options, fs::path program, const Interrupt& interrupt,
               const app::GitWorktree& worktree, fs::path scratch)
      : options_(options),
        program_(std::move(program)),
        interrupt_(interrupt),
        worktree_(worktree),
        scratch_(std::move(scratch)) {}

  Result<Answer> find(const std::string& good, const std::string& bad) {
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
      return {"--reference", "pack:" + reference().string()};
    }
    std::vector<std::string> words = {"--reference", options_.trial.reference};
    for (const std::string& setting : options_.trial.reference_settings) {
      words.insert(words.end(), {"--reference-option", setting});
    }
    return words;
  }

  // One step of `git bisect run`.
  Status step() {
    TERN_ASSIGN_OR_RETURN(const app::TrialResult result, try_checked_out(reference_words()));
    TERN_RETURN_IF_ERROR(worktree_.git({"reset", "--hard", "--quiet"}));  // what the build changed
    const char* const word = result.outcome == Outcome::kGood  ? "good"
                             : result.outcome == Outcome::kBad ? "bad"
                                                               : "skip";
    TERN_ASSIGN_OR_RETURN(const app::GitOutput output, worktree_.run({"bisect", word}));
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
    TERN_ASSIGN_OR_RETURN(const app::TrialResult result, try_checked_out(words));
    if (result.outcome != wanted) {
      return fail(
          ErrorCode::kNoVerdict, name,
          fmt::format("is {}, so there is nothing to find: {}", bisect::outcome_name(result.outcome), result.reason),
          "--exact, --tolerant and --crash-is decide what counts");
    }
    return {};
  }

  Result<app::TrialResult> try_checked_out(const std::vector<std::string>& words) {
    TERN_ASSIGN_OR_RETURN(const std::string commit, worktree_.git({"rev-parse", "HEAD"}));
    TERN_ASSIGN_OR_RETURN(const std::string title, worktree_.git({"log", "-1", "--format=%s"}));
    ChildCommand command;
    command.argv = step_words();
    command.argv.insert(command.argv.end(), words.begin(), words.end());
    // Whatever a step leaves when it is killed lies where all of this goes.
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
    if (ended.exit_code.value_or(kAbort) >= 128) {
      return fail(ErrorCode::kNoVerdict, "at commit " + commit.substr(0, 10), last_line(ended.output_tail));
    }
    TERN_ASSIGN_OR_RETURN(app::TrialResult result, read_report(report()));
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
    const app::TrialOptions& trial = options_.trial;
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
  const app::GitWorktree& worktree_;
  fs::path scratch_;
  Answer answer_;
};

void print_text(const Answer& answer, const app::GitWorktree& worktree) {
  fmt::print("{}:\n", answer.candidates.size() == 1
                          ? "first bad commit"
                          : "the first bad commit is one of these; those that are not bad could not be tested");
  for (const std::string& commit : answer.candidates) {
    const auto shown = worktree.git({"log", "-1", "--format=%H%n  %an, %ad%n  %s", "--date=iso", commit});
    fmt::print("{}\n", shown ? *shown : commit);
    if (const Tried* tried = answer.find(commit)) {
      if (!tried->result.first_divergence.empty()) {
        fmt::print("  first divergence: {}\n", printable(tried->result.first_divergence));
      }
      fmt::print("  {}: {}\n", bisect::outcome_name(tried->result.outcome), printable(tried->result.reason, 1000));
    }
  }
}

void print_json(const Answer& answer) {
  const bool found = answer.candidates.size() == 1;
  const Tried* tried = answer.find(answer.candidates.front());
  Json json = {{"first_bad", found ? Json(answer.candidates.front()) : Json(nullptr)},
               {"candidates", answer.candidates},
               {"reason", found && tried != nullptr ? Json(tried->result.reason) : Json(nullptr)},
               {"first_divergence", found && tried != nullptr ? to_json(tried->result)["first_divergence"] : Json()},
               {"tried", Json::array()}};
  for (const Tried& one : answer.tried) {
    json["tried"].push_back(to_json(one));
  }
  fmt::print("{}", to_json_text(with_format(Document::kCommand, json)));
}

// Paths as they are seen from the worktree, and what every step would refuse.
Result<CommitsOptions> settled(CommitsOptions options) {
  app::TrialOptions& trial = options.trial;
  TERN_RETURN_IF_ERROR(app::run_setting(trial.setting));
  trial.tokenizer = app::absolute_path(app::tokenizer_for(trial.model, trial.tokenizer));
  trial.model = app::absolute_path(trial.model);
  TERN_RETURN_IF_ERROR(app::open_model_and_tokenizer(trial.model, trial.tokenizer));
  const peer::EngineRegistry registry = app::engine_registry();
  TERN_ASSIGN_OR_RETURN(const peer::EngineSpec subject, registry.parse(trial.subject, "--subject"));
  const peer::EngineScheme& scheme = *registry.find(subject.scheme);
  if (!scheme.runs || scheme.argument.empty()) {
    return fail(ErrorCode::kUsage, "--subject " + printable(trial.subject), "does not depend on what is checked out",
                "name what a commit builds: command:'./engine', bitnet.cpp:. or llama.cpp:.");
  }
  if (!trial.reference.empty()) {
    TERN_ASSIGN_OR_RETURN(trial.reference, app::spec_from_anywhere(trial.reference, "--reference"));
  }
  return options;
}

Result<int> search(const CommitsOptions& typed, const Interrupt& interrupt) {
  TERN_ASSIGN_OR_RETURN(const CommitsOptions options, settled(typed));
  std::error_code error;
  if (!fs::is_directory(options.repository, error)) {
    return fail(ErrorCode::kIo, "--repo " + printable(options.repository, 1000), "there is no such folder");
  }
  TERN_ASSIGN_OR_RETURN(const ScratchFolder temporary, ScratchFolder::in_temporary_folder());
  const fs::path scratch = app::absolute_path(temporary.path().string());  // git is started elsewhere
  TERN_ASSIGN_OR_RETURN(const fs::path program, app::own_program());
  const auto resolve = [&](const char* option, const std::string& revision) -> Result<std::string> {
    TERN_ASSIGN_OR_RETURN(
        const app::GitOutput output,
        app::run_git(options.repository,
                     {"rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}"}, scratch));
    return output.exit_code == 0
               ? Result<std::string>(output.text)
               : fail(ErrorCode::kUsage, fmt::format("{} {}", option, printable(revision)),
                      "is no commit of the repository " + options.repository, output.text.empty() ? "" : output.text);
  };
  TERN_ASSIGN_OR_RETURN(const std::string good, resolve("--good", options.good));
  TERN_ASSIGN_OR_RETURN(const std::string bad, resolve("--bad", options.bad));
  TERN_ASSIGN_OR_RETURN(const std::unique_ptr<app::GitWorktree> worktree,
                        app::GitWorktree::add(options.repository, good, scratch));
  CommitSearch commits(options, program, interrupt, *worktree, scratch);
  TERN_ASSIGN_OR_RETURN(const Answer answer, commits.find(good, bad));
  options.json ? print_json(answer) : print_text(answer, *worktree);
  return answer.candidates.size() == 1 ? 0 : exit_code(ErrorCode::kNoVerdict);
}

}  // namespace

void add_bisect_commits(Command& group, Action& action) {
  Command* command =
      group.add_subcommand("commits", "Find the first commit whose engine computes other than the good one's");
  auto options = std::make_shared<CommitsOptions>();
  command->add_option("--good", options->good, "A revision that computes what it should")->required();
  command->add_option("--bad", options->bad, "A later one that does not")->required();
  command->add_option("--repo", options->repository, "The engine's repository; its checkout is not touched")
      ->capture_default_str();
  command->add_option("--build", options->build, "A shell command that builds a commit, started in its top folder");
  command->add_option("--build-timeout", options->build_timeout_s, "Seconds for that")
      ->check(positive_number())
      ->capture_default_str();
  command->add_option("--model", options->trial.model, "The GGUF model")->required();
  command
      ->add_option("--subject", options->trial.subject,
                   "What a commit builds, seen from its top folder: command:'./engine', bitnet.cpp:., llama.cpp:.")
      ->required();
  add_trial_options(*command, options->trial);
  command->add_flag("--json", options->json, "As JSON");
  command->footer(
      "The commits are checked out in a temporary git worktree, one after the other; submodules are the build's "
      "matter\n"
      "(--build 'git submodule update --init && make'). A commit that cannot be tested is passed over.\n"
      "Exit codes: 0 found, 2 no such revision, 3 unreadable, 5 the good one is not good, the bad one not bad, or too\n"
      "many could not be tested.\n"
      "Example: tern bisect commits --good v1.0 --bad HEAD --build 'make -j2' --subject 'command:./engine' --model "
      "m.gguf");
  command->callback([options, &action] {
    action = [options] { return app::until_interrupted([&](const Interrupt& i) { return search(*options, i); }); };
  });
}

}  // namespace tern::cli
