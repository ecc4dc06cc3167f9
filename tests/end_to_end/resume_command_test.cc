// tern sweep --resume, on sweeps that are killed with SIGKILL while they run.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <random>
#include <regex>
#include <set>
#include <thread>
#include <utility>

#include "support/paths.h"
#include "support/run_program.h"
#include "tern/base/environment.h"
#include "tern/base/file.h"
#include "tern/base/json.h"
#include "tern/base/stopwatch.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using test::Ended;
using testing::HasSubstr;
using testing::Not;

constexpr uint64_t kMaxFileBytes = uint64_t{1} << 30;

// Whatever may differ from sweep to sweep, and nothing else, is masked: time stamps, durations (and rates), memory,
// what was resumed, and what was seen of a run before its end.
Json without_times(Json json) {
  if (json.is_object()) {
    json.erase("resumed");
    json.erase("seen_while_running");
    for (const char* key : {"timestamp", "wall_s", "load_s", "prefill_s", "decode_s", "peak_rss_bytes"}) {
      if (json.contains(key)) {
        EXPECT_TRUE(json[key].is_number() || json[key].is_string()) << key;
        json[key] = "masked";
      }
    }
  }
  if (json.is_structured()) {
    for (Json& element : json) {
      element = without_times(std::move(element));
    }
  }
  return json;
}

std::string without_times(const std::string& text) {
  static const std::pair<std::regex, const char*> kMasks[] = {
      {std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)"), "TIME"},
      {std::regex(R"(\b\d+(\.\d+)? s\b)"), "SECONDS"},
      {std::regex(R"(\d+(\.\d+)? tokens/s)"), "RATE"},
      {std::regex(R"( time="\d+\.\d+")"), " time"},
      {std::regex(R"(memory: +\d+(\.\d+)? [kMG]B)"), "memory: BYTES"},
      {std::regex(R"(^(- \*\*Resumed:\*\*|Seen while running:) .*$)"), "LEFT OUT"},
  };
  std::string out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t newline = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, newline - begin);
    for (const auto& [pattern, mask] : kMasks) {
      line = std::regex_replace(line, pattern, mask);
    }
    out += line == "LEFT OUT" ? "" : line + "\n";
    begin = newline + 1;
  }
  return out;
}

// By the path within the folder, hidden files included.
std::map<std::string, fs::path> files_below(const fs::path& folder) {
  std::map<std::string, fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    files[entry.path().lexically_relative(folder)] = entry.is_directory() ? fs::path() : entry.path();
  }
  return files;
}

void expect_same_file(const std::string& name, const fs::path& a, const fs::path& b) {
  const std::string x = read_file(a, kMaxFileBytes).value();
  const std::string y = read_file(b, kMaxFileBytes).value();
  if (x == y) {
    return;
  }
  if (name.ends_with(".json")) {
    EXPECT_EQ(without_times(parse_json(x, name).value()), without_times(parse_json(y, name).value())) << name;
  } else if (name.ends_with(".md") || name.ends_with(".xml") || name.ends_with(".txt")) {
    EXPECT_EQ(without_times(x), without_times(y)) << name;
  } else {
    ADD_FAILURE() << name << " differs";  // traces, logits, values
  }
}

void expect_same_report(const fs::path& whole, const fs::path& resumed) {
  const auto expected = files_below(whole);
  const auto found = files_below(resumed);
  for (const auto& [name, path] : expected) {
    ASSERT_TRUE(found.contains(name)) << name;
    if (!path.empty()) {
      expect_same_file(name, path, found.at(name));
    }
  }
  for (const auto& [name, path] : found) {
    EXPECT_TRUE(expected.contains(name)) << name << " is not in the uninterrupted sweep's report";
  }
}

unsigned random_seed() {
  const char* given = environment_variable("TERN_TEST_SEED");
  const unsigned seed = given != nullptr ? static_cast<unsigned>(std::stoul(given)) : std::random_device()();
  std::cout << "TERN_TEST_SEED=" << seed << "\n";
  return seed;
}

class ResumeCommand : public testing::Test {
 protected:
  ResumeCommand()
      : model_(test::golden_dir() / "models" / "tiny-i2_s.gguf"),
        tokenizer_(test::golden_dir() / "models" / "tokenizer.json"),
        out_(folder_.path() / "out"),
        starts_(folder_.path() / "starts") {
    fs::create_directory(folder_.path() / "tmp");
  }

  // An engine that notes each of its starts: tern itself, with `more` words.
  std::string noting_engine(const std::string& name, const std::string& more = "") {
    const fs::path script = folder_.path() / (name + ".sh");
    EXPECT_TRUE(write_file(script, "echo " + name + " >> " + starts_.string() + "\nexec " +
                                       test::tern_binary().string() + " run \"$@\" " + more + "\n"));
    return "command:sh " + script.string() +
           " --model {model} --tokenizer {tokenizer} --prompt={prompt} --max-tokens {max_tokens} --ignore-eos "
           "--threads {threads} --out {out}";
  }

  size_t n_starts() const {
    const std::string text = read_file(starts_, kMaxFileBytes).value_or("");
    return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  }

  ChildCommand sweep_command(std::vector<std::string> more) const {
    std::vector<std::string> words = {"sweep", model_.string(), tokenizer_.string(), out_.string(), "--threads", "1"};
    words.insert(words.end(), options_.begin(), options_.end());
    words.insert(words.end(), more.begin(), more.end());
    return test::tern_command(words, {{"TMPDIR", (folder_.path() / "tmp").string()}});
  }

  Ended sweep(std::vector<std::string> more = {}) const { return test::run_program(sweep_command(std::move(more))); }

  // In the background, its output in log().
  pid_t start_sweep() const {
    const ChildCommand command = sweep_command({});
    std::vector<std::string> words = {"env"};  // which becomes tern, with the same process id
    for (const auto& [name, value] : command.environment) {
      words.push_back(name + "=" + value);
    }
    words.insert(words.end(), command.argv.begin(), command.argv.end());
    std::vector<char*> argv;
    for (std::string& word : words) {
      argv.push_back(word.data());
    }
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, 1, log().c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ::posix_spawn_file_actions_adddup2(&actions, 1, 2);
    pid_t pid = 0;
    EXPECT_EQ(::posix_spawnp(&pid, "env", &actions, nullptr, argv.data(), environ), 0);
    ::posix_spawn_file_actions_destroy(&actions);
    return pid;
  }
  fs::path log() const { return folder_.path() / "log"; }

  static int end_with(pid_t pid, int signal) {
    ::kill(pid, signal);
    int status = 0;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    return status;
  }

  fs::path journal() const { return out_ / ".tern-journal" / "journal.jsonl"; }

  // The runs of the journal's whole lines.
  std::set<std::string> journalled_runs() const {
    std::set<std::string> runs;
    const std::string text = read_file(journal(), kMaxFileBytes).value_or("");
    for (size_t begin = 0, end = text.find('\n'); end != std::string::npos; end = text.find('\n', begin)) {
      const Json line = parse_json(text.substr(begin, end - begin), "journal").value();
      if (line.contains("run")) {
        runs.insert(line["run"].get<std::string>());
      }
      begin = end + 1;
    }
    return runs;
  }

  std::set<std::string> taken_over_runs() const {
    std::set<std::string> runs;
    const Json sweep = read_json_file(out_ / "sweep.json").value();
    EXPECT_TRUE(sweep["resumed"]["run_again"].empty()) << sweep["resumed"].dump();
    for (const Json& section : sweep["resumed"]["sections"]) {
      for (const Json& run : section["runs_taken_over"]) {
        runs.insert(section["of"].get<std::string>() + "/" + run.get<std::string>());
      }
    }
    return runs;
  }

  // Kills a sweep at `n` moments, one at random in each n-th of its duration, and resumes each.
  void kill_and_resume(int n, int expected_exit_code) {
    const Stopwatch stopwatch;
    const Ended ended = sweep();
    const double duration_s = stopwatch.seconds();
    ASSERT_EQ(ended.exit_code, expected_exit_code) << ended.output;
    const size_t n_starts_of_whole = n_starts();
    const fs::path whole = folder_.path() / "whole";
    fs::rename(out_, whole);
    std::mt19937 random(random_seed());
    std::uniform_real_distribution<double> within(0, duration_s / n);
    size_t n_taken_over = 0, n_most = 0;
    for (int i = 0; i < n && !HasFatalFailure(); ++i) {
      const double seconds = i * duration_s / n + within(random);
      SCOPED_TRACE("killed after " + std::to_string(seconds) + " s of " + std::to_string(duration_s));
      fs::remove_all(out_);
      fs::remove(starts_);
      const Stopwatch running;
      const pid_t pid = start_sweep();
      std::this_thread::sleep_for(std::chrono::duration<double>(seconds - running.seconds()));
      n_killed_ += WIFSIGNALED(end_with(pid, SIGKILL)) ? 1 : 0;
      const std::set<std::string> kept = journalled_runs();
      const Ended resumed = sweep({"--resume"});
      ASSERT_EQ(resumed.exit_code, expected_exit_code) << resumed.output;
      EXPECT_EQ(taken_over_runs(), kept);
      if (!kept.empty()) {
        ++n_resumed_;
        EXPECT_LE(n_starts(), n_starts_of_whole + 1);  // the one that was in progress
      }
      n_taken_over += kept.size();
      n_most = std::max(n_most, kept.size());
      expect_same_report(whole, out_);
    }
    std::cout << n << " moments of " << duration_s << " s: " << n_killed_ << " killed while running, " << n_resumed_
              << " took something over, " << n_taken_over << " runs in all, at most " << n_most << "\n";
  }

  test::TemporaryFolder folder_;
  fs::path model_, tokenizer_, out_, starts_;
  std::vector<std::string> options_;
  int n_killed_ = 0;   // while the sweep ran
  int n_resumed_ = 0;  // with something to take over
};

using ResumeCommandDeep = ResumeCommand;

TEST_F(ResumeCommandDeep, KilledAtAnyMomentItGivesTheSameReport) {
  options_ = {"--subject", noting_engine("subject"), "--reference", noting_engine("reference"), "--oracle", "never"};
  kill_and_resume(20, 0);
  EXPECT_GE(n_killed_, 10);
  EXPECT_GE(n_resumed_, 5);
}

// With runs that were fed the reference's tokens, and oracles with faults.
TEST_F(ResumeCommandDeep, ADivergenceToo) {
  const std::string scenario = folder_.path() / "scenario.toml";
  ASSERT_TRUE(write_file(scenario, "[[scenario]]\nname = \"only\"\nprompt = \"Count: 1,2,3,\"\nmax_tokens = 4\n"));
  options_ = {"--reference",       noting_engine("reference", "--engine oracle --fault rope_base"),
              "--check-reference", "never",
              "--scenarios",       scenario};
  kill_and_resume(2, 1);
  EXPECT_TRUE(fs::exists(out_ / "only" / "rs-forced-run"));
}

// Ctrl-C in the second of three scenarios, none of which has a reference.
class ResumeAfterCtrlC : public ResumeCommand {
 protected:
  void SetUp() override {
    const fs::path wait = folder_.path() / "wait";
    const fs::path waits = folder_.path() / "waits";
    ASSERT_TRUE(write_file(wait, ""));
    ASSERT_TRUE(write_file(script(), "echo start >> " + starts_.string() + "\nif test \"$1\" = Hello && test -e " +
                                         wait.string() + "; then touch " + waits.string() + "; sleep 60; fi\n" +
                                         "p=$1; shift; exec " + test::tern_binary().string() +
                                         " run --ignore-eos \"--prompt=$p\" \"$@\"\n"));
    options_ = {"--subject",
                "command:sh " + script().string() +
                    " {prompt} --model {model} --tokenizer {tokenizer} --max-tokens {max_tokens} --out {out}",
                "--reference",
                "none",
                "--oracle",
                "never"};
    const pid_t pid = start_sweep();
    for (int i = 0; i < 3000 && !fs::exists(waits); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    const int status = end_with(pid, SIGINT);
    ASSERT_TRUE(WIFEXITED(status));
    ASSERT_EQ(WEXITSTATUS(status), 128 + SIGINT);
    fs::remove(wait);
    fs::remove(starts_);
    ASSERT_EQ(journalled_runs(), std::set<std::string>{"scenario1/rs-run"});
  }
  fs::path script() const { return folder_.path() / "engine.sh"; }

  void expect_whole() const {
    EXPECT_FALSE(fs::exists(out_ / ".tern-journal"));
    EXPECT_EQ(read_json_file(out_ / "sweep.json").value()["scenarios"].size(), 3U);
  }
};

TEST_F(ResumeAfterCtrlC, ItGoesOnWhereItWas) {
  EXPECT_THAT(read_file(log(), kMaxFileBytes).value(), HasSubstr("1 of 3 scenarios are complete in " + out_.string() +
                                                                 "; the same command with --resume goes on from here"));
  const Ended resumed = sweep({"--resume"});
  EXPECT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_THAT(resumed.output, HasSubstr("--resume: engine runs that had ended: scenario1/rs-run"));
  EXPECT_THAT(resumed.output, HasSubstr("resumed: took over all of scenario1"));
  EXPECT_EQ(n_starts(), 2U);
  EXPECT_EQ(taken_over_runs(), std::set<std::string>{"scenario1/rs-run"});
  EXPECT_THAT(read_file(out_ / "summary.md", kMaxFileBytes).value(),
              HasSubstr("- **Resumed:** took over all of scenario1\n"));
  expect_whole();
}

TEST_F(ResumeAfterCtrlC, WithoutResumeEverythingIsRunAnew) {
  const Ended ended = sweep();
  EXPECT_EQ(ended.exit_code, 0) << ended.output;
  EXPECT_EQ(n_starts(), 3U);
  EXPECT_THAT(read_file(out_ / "summary.md", kMaxFileBytes).value(), Not(HasSubstr("Resumed")));
  expect_whole();
  const Ended again = sweep({"--resume"});
  EXPECT_EQ(again.exit_code, 0) << again.output;
  EXPECT_THAT(again.output, HasSubstr("holds nothing of an unfinished sweep, so everything is run"));
  EXPECT_EQ(n_starts(), 6U);
}

TEST_F(ResumeAfterCtrlC, AnotherSweepIsRefusedAndTheDifferenceNamed) {
  const auto expect_refused = [&](const Ended& ended, const std::string& difference) {
    EXPECT_EQ(ended.exit_code, 2) << ended.output;
    EXPECT_THAT(ended.output, HasSubstr("is another one: " + difference));
    EXPECT_THAT(ended.output, HasSubstr("leave out --resume to start anew"));
    EXPECT_EQ(journalled_runs(), std::set<std::string>{"scenario1/rs-run"});
  };
  expect_refused(sweep({"--resume", "--exact"}), "--exact was false, now it is true");
  expect_refused(sweep({"--resume", "--timeout", "7"}), "--timeout was 180.0, now it is 7.0");
  const fs::path model = std::exchange(model_, test::golden_dir() / "models" / "tiny-silu-i2_s.gguf");
  expect_refused(sweep({"--resume"}), "model: SHA-256 was ");
  model_ = model;
  const std::string text = read_file(script(), kMaxFileBytes).value();
  ASSERT_TRUE(write_file(script(), text + "# another engine\n"));
  expect_refused(sweep({"--resume"}), "subject: files: " + script().string() + " was ");
  ASSERT_TRUE(write_file(script(), text));
  EXPECT_EQ(sweep({"--resume"}).exit_code, 0);
}

// What another tern has kept proves nothing about this one.
TEST_F(ResumeAfterCtrlC, TheJournalOfAnEarlierReleaseIsStartedAnew) {
  fs::copy_file(test::source_dir() / "tests" / "data" / "earlier_release" / "journal.jsonl", journal(),
                fs::copy_options::overwrite_existing);
  const Ended ended = sweep({"--resume"});
  EXPECT_EQ(ended.exit_code, 0) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("--resume: everything is run anew: the earlier sweep was run by another tern"));
  EXPECT_EQ(n_starts(), 3U);
  EXPECT_FALSE(fs::exists(journal()));
}

TEST_F(ResumeAfterCtrlC, ADamagedJournalIsAnErrorAndATornLineIsNot) {
  const std::string text = read_file(journal(), kMaxFileBytes).value();
  ASSERT_TRUE(write_file(journal(), text + "{\"run\": 3}\n"));
  const Ended refused = sweep({"--resume"});
  EXPECT_EQ(refused.exit_code, 3) << refused.output;
  EXPECT_THAT(refused.output, HasSubstr("journal.jsonl line 3: key \"run\" is not a string"));
  ASSERT_TRUE(write_file(journal(), text + "{\"run\": \"scen"));
  const Ended resumed = sweep({"--resume"});
  EXPECT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_EQ(taken_over_runs(), std::set<std::string>{"scenario1/rs-run"});
  expect_whole();
}

TEST_F(ResumeAfterCtrlC, WhatCannotBeReadIsRunAgain) {
  const fs::path kept = out_ / ".tern-journal" / "scenario1" / "rs-run";
  fs::remove(kept / "run" / "logits.safetensors");
  const Ended resumed = sweep({"--resume"});
  EXPECT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_THAT(resumed.output, HasSubstr("was run again, since it could not be taken over: scenario1/rs-run: "));
  EXPECT_EQ(n_starts(), 3U);
  EXPECT_EQ(read_json_file(out_ / "sweep.json").value()["resumed"]["run_again"].size(), 1U);
  expect_whole();
}

}  // namespace
}  // namespace tern
