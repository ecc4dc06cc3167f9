// Kept runs with a stand-in engine, a shell script that counts how often it runs.
#include "tern/sweep/kept_runs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/paths.h"
#include "tern/base/file.h"

namespace tern::sweep {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const Json kSettings = {{"model", "a"}};

class KeptRunsTest : public testing::Test {
 protected:
  KeptRunsTest() : out_(folder_.path() / "out"), starts_(folder_.path() / "starts") { fs::create_directories(out_); }

  // Gives the recording of scenario1, or does `instead`.
  std::unique_ptr<peer::Peer> engine(const std::string& instead = "") const {
    const std::string recording = (test::golden_dir() / "tiny-i2_s" / "scenario1").string();
    const std::string work = instead.empty() ? "cp " + recording + "/* $0" : instead;
    return peer::make_command_peer(
        peer::CommandTemplate({"sh", "-c", "echo x >> " + starts_.string() + "; echo made $0; " + work, "{out}"}),
        "stand-in");
  }

  size_t n_starts() const { return read_file(starts_, 1000).value_or("").size() / 2; }

  // One run of a process that is then gone; `n` tells the processes apart.
  peer::PeerRun run_once(bool resume, std::unique_ptr<peer::Peer> of, int max_tokens = 1) {
    auto kept = KeptRuns::open(out_, kSettings, resume);
    EXPECT_TRUE(kept) << kept.error().line();
    const auto keeping = (*kept)->keep(std::move(of));
    (*kept)->enter("scenario1");
    const fs::path partial = out_ / (".scenario1.partial-" + std::to_string(++n_processes_));
    fs::create_directory(partial);
    peer::RunRequest request;
    request.prompt = "2+2=";
    request.max_tokens = max_tokens;
    request.timeout_s = 20;
    request.run_folder = partial / "rs-run";
    request.trace_folder = partial / "rs-traces";
    request.output_file = partial / "rs-output.txt";
    auto run = keeping->run(request);
    EXPECT_TRUE(run) << run.error().line();
    resumption_ = (*kept)->resumption();
    return std::move(*run);
  }

  fs::path partial() const { return out_ / (".scenario1.partial-" + std::to_string(n_processes_)); }
  fs::path place() const { return out_ / ".tern-journal" / "scenario1" / "rs-run"; }
  fs::path journal() const { return out_ / ".tern-journal" / "journal.jsonl"; }
  std::vector<std::string> taken_over() const { return resumption_.sections.at(0).taken_over; }

  test::TemporaryFolder folder_;
  fs::path out_, starts_;
  int n_processes_ = 0;
  outcome::Resumption resumption_;
};

TEST_F(KeptRunsTest, ARunIsTakenOverWithAllThatItTold) {
  const peer::PeerRun first = run_once(false, engine());
  ASSERT_TRUE(first.run) << first.failure;
  EXPECT_THAT(taken_over(), IsEmpty());
  fs::remove_all(partial());
  const peer::PeerRun second = run_once(true, engine());
  EXPECT_EQ(n_starts(), 1U);
  EXPECT_THAT(taken_over(), ElementsAre("rs-run"));
  ASSERT_TRUE(second.run) << second.failure;
  EXPECT_EQ(second.run->folder, partial() / "rs-run");
  EXPECT_EQ(second.run->result.generated_tokens, first.run->result.generated_tokens);
  EXPECT_EQ(second.run->trace.size(), first.run->trace.size());
  EXPECT_EQ(second.n_traces, first.n_traces);
  EXPECT_EQ(second.process->exit_code, 0);
  EXPECT_EQ(second.process->wall_s, first.process->wall_s);
  EXPECT_EQ(second.process->peak_rss_bytes, first.process->peak_rss_bytes);
  // Its own paths, not those of the process that was killed.
  EXPECT_EQ(second.command.back(), (partial() / "rs-run").string());
  EXPECT_EQ(second.environment.at("BITNET_TRACE_DIR"), (partial() / "rs-traces").string());
  EXPECT_THAT(read_file(partial() / "rs-output.txt", 1000).value(), HasSubstr("made"));
}

TEST_F(KeptRunsTest, SoIsAFailureOfTheEnginesOwn) {
  const peer::PeerRun first = run_once(false, engine("exit 6"));
  const peer::PeerRun second = run_once(true, engine());
  EXPECT_EQ(n_starts(), 1U);
  EXPECT_EQ(second.process->exit_code, 6);
  EXPECT_EQ(second.failure.substr(0, 22), first.failure.substr(0, 22));
  EXPECT_FALSE(second.run);
}

TEST_F(KeptRunsTest, AnEngineThatWasKilledRunsAgain) {
  EXPECT_THAT(run_once(false, engine("kill -KILL $$")).failure, HasSubstr("SIGKILL"));
  EXPECT_FALSE(fs::exists(journal()));
  EXPECT_TRUE(run_once(true, engine()).run);
  EXPECT_EQ(n_starts(), 2U);
}

TEST_F(KeptRunsTest, AnEngineThatRemovesItsFoldersIsNoProblemOfOurs) {
  EXPECT_FALSE(run_once(false, engine("rm -rf $0")).run);
  EXPECT_FALSE(run_once(true, engine()).run);
  EXPECT_EQ(n_starts(), 1U);
}

TEST_F(KeptRunsTest, WithoutResumeNothingIsTakenOver) {
  run_once(false, engine());
  run_once(false, engine());
  EXPECT_EQ(n_starts(), 2U);
}

TEST_F(KeptRunsTest, WhatWasAskedForSomethingElseRunsAgain) {
  run_once(false, engine());
  run_once(true, engine(), 2);
  EXPECT_EQ(n_starts(), 2U);
  ASSERT_EQ(resumption_.run_again.size(), 1U);
  EXPECT_THAT(resumption_.run_again[0], HasSubstr("max_tokens was 1, now it is 2"));
}

TEST_F(KeptRunsTest, DamagedFilesAreRunAgainAndKeptAnew) {
  const auto damage_and_resume = [&](const std::function<void()>& damage, const std::string& why) {
    damage();
    const size_t n_before = n_starts();
    EXPECT_TRUE(run_once(true, engine()).run);
    EXPECT_EQ(n_starts(), n_before + 1);
    ASSERT_EQ(resumption_.run_again.size(), 1U);
    EXPECT_THAT(resumption_.run_again[0], HasSubstr(why));
    EXPECT_TRUE(run_once(true, engine()).run);
    EXPECT_EQ(n_starts(), n_before + 1);
    EXPECT_THAT(taken_over(), ElementsAre("rs-run"));
  };
  run_once(false, engine());
  damage_and_resume([&] { fs::remove_all(place()); }, "holds 0 bytes");
  damage_and_resume([&] { fs::remove(place() / "run" / "logits.safetensors"); }, "bytes, where");
  damage_and_resume(
      [&] {
        const fs::path result = place() / "run" / "result.json";
        const std::string text = read_file(result, 1 << 20).value();
        fs::remove(result);
        ASSERT_TRUE(write_file(result, std::string(text.size(), 'x')));
      },
      "result.json");
}

TEST_F(KeptRunsTest, ATornLineIsCutOffBeforeTheNextOne) {
  run_once(false, engine());
  const std::string whole = read_file(journal(), 1 << 20).value();
  ASSERT_TRUE(append_to_file(journal(), "{\"run\": \"scenario1/cpp"));
  run_once(true, engine());
  EXPECT_EQ(n_starts(), 1U);
  EXPECT_EQ(read_file(journal(), 1 << 20).value(), whole);
}

TEST_F(KeptRunsTest, AJournalOfAnotherSweepIsRefusedAndStays) {
  run_once(false, engine());
  const auto other = KeptRuns::open(out_, {{"model", "b"}}, true);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ErrorCode::kUsage);
  EXPECT_THAT(other.error().line(), HasSubstr("model was \"a\", now it is \"b\""));
  EXPECT_TRUE(fs::exists(place()));
}

TEST_F(KeptRunsTest, ADamagedJournalIsRefusedAndStays) {
  run_once(false, engine());
  ASSERT_TRUE(append_to_file(journal(), "nonsense\n"));
  const auto kept = KeptRuns::open(out_, kSettings, true);
  ASSERT_FALSE(kept);
  EXPECT_EQ(kept.error().code, ErrorCode::kInvalidInput);
  EXPECT_THAT(kept.error().line(), HasSubstr("journal.jsonl line 3"));
  EXPECT_TRUE(fs::exists(place()));
}

TEST_F(KeptRunsTest, NothingIsLeftOfWholeSweepsAndOfThoseWithoutAnyRun) {
  { ASSERT_TRUE(KeptRuns::open(out_, kSettings, true)); }
  EXPECT_TRUE(fs::is_empty(out_));
  run_once(false, engine());
  fs::remove_all(partial());
  ASSERT_TRUE(write_file(out_ / ".tern-journal.removed" / "x", "left by a sweep that was killed at its end"));
  auto kept = KeptRuns::open(out_, kSettings, true);
  ASSERT_TRUE(kept);
  EXPECT_THAT((*kept)->earlier(), ElementsAre("scenario1/rs-run"));
  ASSERT_TRUE((*kept)->remove());
  EXPECT_TRUE(fs::is_empty(out_));
}

TEST_F(KeptRunsTest, AFolderOfSomebodyElseIsNotTouched) {
  ASSERT_TRUE(write_file(out_ / ".tern-journal" / "diary.txt", "precious"));
  for (const bool resume : {false, true}) {
    const auto kept = KeptRuns::open(out_, kSettings, resume);
    ASSERT_FALSE(kept);
    EXPECT_EQ(kept.error().code, ErrorCode::kIo);
  }
  EXPECT_TRUE(fs::exists(out_ / ".tern-journal" / "diary.txt"));
}

}  // namespace
}  // namespace tern::sweep
