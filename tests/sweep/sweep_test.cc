// The sweep's logic with stand-in engines: shell scripts that copy recordings, fail, or hang.
#include "tern/sweep/sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

#include "support/paths.h"
#include "tern/base/file.h"
#include "tern/sweep/scenarios.h"

namespace tern::sweep {
namespace {

namespace fs = std::filesystem;
using outcome::ParityStatus;
using testing::HasSubstr;

class SilentProgress final : public Progress {
 public:
  void started(size_t, const outcome::Scenario&, std::string_view) override { ++n_started; }
  void differs(const trace::TensorId& first, double) override { differs_at = first.name(); }
  void running(double, const fs::path&) override {}
  void finished(size_t, const outcome::ScenarioOutcome&) override { ++n_finished; }
  int n_started = 0, n_finished = 0;
  std::string differs_at;
};

class SweepTest : public testing::Test {
 protected:
  SweepTest() : output_dir_(folder_.path() / "out") {
    plan_.scenarios = builtin_scenarios();
    plan_.timeout_s = 20;
  }

  // An engine that answers with the recording of `model`, unless the prompt matches the shell pattern `but`: then it
  // does `instead`.
  std::unique_ptr<peer::Peer> engine(const std::string& model, const std::string& but = "",
                                     const std::string& instead = "") {
    const std::string golden = (test::golden_dir() / model).string();
    const std::string script = (folder_.path() / ("engine" + std::to_string(n_engines_++) + ".sh")).string();
    EXPECT_TRUE(write_file(script, "case \"$1\" in\n" + (but.empty() ? std::string() : but + ") " + instead + " ;;\n") +
                                       "2+2=) cp " + golden + "/scenario1/* $2 ;;\nHello) cp " + golden +
                                       "/scenario2/* $2 ;;\n*) cp " + golden +
                                       "/scenario3/* $2 ;;\nesac\necho done\n"));
    return peer::make_command_peer(peer::CommandTemplate({"sh", script, "{prompt}", "{out}"}), "stand-in");
  }

  // An engine that traces scenario1 up to a tensor of which hash and RMS are wrong, sleeps, and does the rest.
  std::unique_ptr<peer::Peer> slow_engine(const std::string& wrong, int seconds) {
    const fs::path golden = test::golden_dir() / "tiny-i2_s" / "scenario1";
    const fs::path script = folder_.path() / ("engine" + std::to_string(n_engines_++) + ".sh");
    const auto traces = trace::read_trace_folder(golden);
    EXPECT_TRUE(traces) << traces.error().line();
    std::string text;
    for (trace::TraceRecord record : *traces) {
      const bool is_wrong = record.id.name() == wrong;
      if (is_wrong) {
        record.blake3[0] = record.blake3[0] == '0' ? '1' : '0';
        record.rms = 2 * record.rms.value_or(1);
      }
      text += "echo '" + to_json_line(trace::to_json(record)) + "' >$BITNET_TRACE_DIR/" +
              trace::trace_file_name(record.id) + "\n";
      text += is_wrong ? "sleep " + std::to_string(seconds) + "\n" : "";
    }
    text += "cp " + (golden / "result.json").string() + " " + (golden / "logits.safetensors").string() + " $1\n";
    EXPECT_TRUE(write_file(script, text));
    return peer::make_command_peer(peer::CommandTemplate({"sh", script, "{out}"}), "stand-in");
  }

  Status sweep() {
    std::vector<std::string> names;
    for (const auto& scenario : plan_.scenarios) {
      names.push_back(scenario.name);
    }
    auto output = OutputFolder::open(output_dir_, names);
    if (!output) {
      return tl::unexpected(output.error());
    }
    const ReportWriter reports = [&](const outcome::SweepOutcome&, const outcome::ScenarioOutcome& outcome,
                                     const fs::path& folder) {
      return write_file(folder / "report.txt", outcome.reason + "\n");
    };
    outcome_ = {};
    return run_sweep(plan_, *output, reports, progress_, outcome_);
  }

  ParityStatus status(size_t i) const { return outcome_.scenarios.at(i).status; }

  test::TemporaryFolder folder_;
  fs::path output_dir_;
  SweepPlan plan_;
  SilentProgress progress_;
  outcome::SweepOutcome outcome_;
  int n_engines_ = 0;
};

TEST_F(SweepTest, EqualEnginesAreInParityAndEverythingIsKept) {
  const auto subject = engine("tiny-i2_s");
  const auto reference = engine("tiny-i2_s");
  plan_.subject = subject.get();
  plan_.reference = reference.get();
  ASSERT_TRUE(sweep());
  ASSERT_EQ(outcome_.scenarios.size(), 3U);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(status(i), ParityStatus::kOk) << outcome_.scenarios[i].reason;
    const fs::path folder = output_dir_ / outcome_.scenarios[i].scenario.name;
    EXPECT_EQ(outcome_.scenarios[i].folder, folder);
    for (const char* name : {"rs-output.txt", "rs-run/result.json", "rs-run/logits.safetensors", "cpp-output.txt",
                             "cpp-run/result.json", "report.txt"}) {
      EXPECT_TRUE(fs::exists(folder / name)) << name;
    }
    EXPECT_EQ(test::names_in(folder / "rs-traces").size(), outcome_.scenarios[i].sides.subject.n_traces);
    EXPECT_EQ(test::names_in(folder / "cpp-traces").size(), outcome_.scenarios[i].sides.reference.n_traces);
  }
  EXPECT_EQ(outcome_.scenarios[2].sides.subject.n_traces, 300U);
  EXPECT_EQ(outcome_.scenarios[0].logits_dim, 269U);
  EXPECT_EQ(outcome::exit_code(outcome_), 0);
  EXPECT_EQ(progress_.n_started, 6);
  EXPECT_EQ(progress_.n_finished, 3);
  // What is reported as the command and its environment must name places that still exist.
  for (const std::string& word : outcome_.scenarios[0].sides.subject.execution.command) {
    EXPECT_THAT(word, testing::Not(HasSubstr(".partial-")));
  }
  EXPECT_EQ(outcome_.scenarios[0].sides.subject.execution.environment.at("BITNET_TRACE_DIR"),
            fs::absolute(output_dir_ / "scenario1" / "rs-traces").string());
  EXPECT_THAT(test::names_in(output_dir_), testing::UnorderedElementsAre("scenario1", "scenario2", "scenario3"));
}

// A difference is known before the engine that makes it has ended: here, from its half on it only sleeps.
TEST_F(SweepTest, ADifferenceIsSeenWhileTheEngineRuns) {
  plan_.scenarios.resize(1);
  plan_.equal_bits = true;
  plan_.compare.exactness = compare::Exactness::kExact;
  const auto pack = trace::Pack::create(folder_.path() / "pack", {"m", "s", ""}, "", {{"name", "e"}},
                                        {test::golden_dir() / "tiny-i2_s" / "scenario1"});
  ASSERT_TRUE(pack) << pack.error().line();
  for (const bool subject_is_slow : {true, false}) {
    const auto slow = slow_engine("blk1/k_rope", 1);
    const auto quick = engine("tiny-i2_s");
    const auto recording = peer::make_pack_peer(*pack, "pack:x");
    plan_.subject = subject_is_slow ? slow.get() : quick.get();
    plan_.reference = subject_is_slow ? recording.get() : slow.get();
    ASSERT_TRUE(sweep());
    const auto& outcome = outcome_.scenarios.at(0);
    ASSERT_TRUE(outcome.seen_while_running);
    EXPECT_EQ(outcome.seen_while_running->id.name(), "blk1/k_rope");
    EXPECT_EQ(outcome.seen_while_running->side, subject_is_slow ? compare::Side::kSubject : compare::Side::kReference);
    EXPECT_EQ(progress_.differs_at, "blk1/k_rope");
    ASSERT_TRUE(outcome.comparison);
    EXPECT_EQ(outcome.comparison->first_hash_difference, outcome.seen_while_running->id);
    EXPECT_LT(outcome.seen_while_running->after_s,
              subject_is_slow ? outcome.sides.subject.execution.wall_s : outcome.sides.reference.execution.wall_s);
    EXPECT_FALSE(outcome.sides.subject.execution.ended_at_difference ||
                 outcome.sides.reference.execution.ended_at_difference);
    EXPECT_EQ(outcome.status, ParityStatus::kDiverged);
    EXPECT_THAT(outcome.reason, HasSubstr("blk1/k_rope is the only tensor that differs"));
  }
}

TEST_F(SweepTest, ItCanEndTheEngineThere) {
  plan_.scenarios.resize(1);
  plan_.stop_at_divergence = true;
  const auto reference = engine("tiny-i2_s");
  // Bits, and where no equal bits are promised, the RMS.
  for (const bool equal_bits : {true, false}) {
    plan_.equal_bits = equal_bits;
    plan_.compare.exactness = equal_bits ? compare::Exactness::kExact : compare::Exactness::kTolerant;
    plan_.timeout_s = 100;
    const auto slow = slow_engine("blk1/k_rope", 100);
    const auto quick = engine("tiny-i2_s");
    plan_.subject = quick.get();
    plan_.reference = slow.get();
    ASSERT_TRUE(sweep());
    const auto& outcome = outcome_.scenarios.at(0);
    EXPECT_EQ(outcome.status, ParityStatus::kDiverged);
    EXPECT_THAT(outcome.reason, HasSubstr("blk1/k_rope is the first tensor that differs"));
    EXPECT_THAT(outcome.reason, HasSubstr("the reference was ended there, after"));
    EXPECT_TRUE(outcome.sides.reference.execution.ended_at_difference);
    EXPECT_TRUE(outcome.sides.reference.execution.failure.empty()) << outcome.sides.reference.execution.failure;
    EXPECT_LT(outcome.sides.reference.execution.wall_s, 90);
    ASSERT_TRUE(outcome.comparison);
    EXPECT_EQ(outcome.comparison->exact, equal_bits);
    EXPECT_EQ(outcome.comparison->first_divergence->name(), "blk1/k_rope");
    EXPECT_EQ(outcome.comparison->coverage.tensors_expected, outcome.comparison->coverage.tensors_compared);
    EXPECT_EQ(outcome.comparison->n_hash_equal + 1, outcome.comparison->coverage.tensors_compared);
    EXPECT_FALSE(outcome.sides.reference.result);
    EXPECT_TRUE(fs::exists(output_dir_ / "scenario1" / "cpp-traces" / "blk1_k_rope.trace"));
    EXPECT_FALSE(fs::exists(output_dir_ / "scenario1" / "cpp-run"));
    EXPECT_EQ(outcome::exit_code(outcome_), 1);
  }
}

TEST_F(SweepTest, WithoutAReferenceItIsRustOnly) {
  const auto subject = engine("tiny-i2_s");
  plan_.subject = subject.get();
  ASSERT_TRUE(sweep());
  EXPECT_EQ(status(0), ParityStatus::kRustOnly);
  EXPECT_FALSE(fs::exists(output_dir_ / "scenario1" / "cpp-output.txt"));
  EXPECT_EQ(outcome::exit_code(outcome_), 0);
  outcome_.reference_required = true;
  EXPECT_EQ(outcome::exit_code(outcome_), 5);
}

TEST_F(SweepTest, DifferentEnginesDiverge) {
  const auto subject = engine("tiny-silu-i2_s");
  const auto reference = engine("tiny-i2_s");
  plan_.subject = subject.get();
  plan_.reference = reference.get();
  ASSERT_TRUE(sweep());
  EXPECT_EQ(status(0), ParityStatus::kDiverged);
  EXPECT_EQ(outcome::exit_code(outcome_), 1);
}

TEST_F(SweepTest, OneFailureIsThatScenariosResult) {
  const auto subject = engine("tiny-i2_s", "Hello", "echo bang; kill -SEGV $$");
  const auto reference = engine("tiny-i2_s", "Count*", "exit 6");
  plan_.subject = subject.get();
  plan_.reference = reference.get();
  ASSERT_TRUE(sweep());
  EXPECT_EQ(status(0), ParityStatus::kOk);
  EXPECT_EQ(status(1), ParityStatus::kSubjectFailed);
  EXPECT_EQ(outcome_.scenarios[1].reason, "the subject was killed by SIGSEGV (signal 11)");
  EXPECT_EQ(outcome_.scenarios[1].sides.subject.execution.signal, SIGSEGV);
  EXPECT_EQ(status(2), ParityStatus::kReferenceFailed);
  EXPECT_THAT(outcome_.scenarios[2].reason, HasSubstr("the reference ended with exit code 6"));
  EXPECT_EQ(outcome::exit_code(outcome_), 4);
  EXPECT_EQ(read_file(output_dir_ / "scenario2" / "rs-output.txt", 100).value(), "bang\n");
}

// Stands for a disk that is full while the second scenario runs.
class OnAFullDisk final : public peer::Peer {
 public:
  explicit OnAFullDisk(const peer::Peer& engine) : engine_(engine) {}
  peer::Abilities abilities() const override { return engine_.abilities(); }
  Result<peer::PeerRun> run(const peer::RunRequest& request) const override {
    return ++n_runs_ == 2 ? fail(ErrorCode::kIo, request.output_file.string(), "cannot be written: no space")
                          : engine_.run(request);
  }

 private:
  const peer::Peer& engine_;
  mutable int n_runs_ = 0;
};

TEST_F(SweepTest, AFailureOfTheMachineIsNoSidesFaultAndTheOthersRun) {
  const auto engine_of_both = engine("tiny-i2_s");
  const OnAFullDisk subject(*engine_of_both);
  plan_.subject = &subject;
  plan_.reference = engine_of_both.get();
  ASSERT_TRUE(sweep());
  EXPECT_EQ(status(0), ParityStatus::kOk);
  EXPECT_EQ(status(1), ParityStatus::kMachineFailed);
  EXPECT_THAT(outcome_.scenarios[1].reason,
              HasSubstr((output_dir_ / "scenario2" / "rs-output.txt").string() + ": cannot be written: no space"));
  EXPECT_EQ(status(2), ParityStatus::kOk);
  EXPECT_EQ(outcome::exit_code(outcome_), 3);
}

TEST_F(SweepTest, ATimeOutIsThatScenariosResult) {
  plan_.timeout_s = 0.5;
  const auto subject = engine("tiny-i2_s", "2+2=", "sleep 30");
  plan_.subject = subject.get();
  ASSERT_TRUE(sweep());
  EXPECT_EQ(status(0), ParityStatus::kSubjectFailed);
  EXPECT_TRUE(outcome_.scenarios[0].sides.subject.execution.timed_out);
  EXPECT_EQ(outcome_.scenarios[0].reason, "the subject timed out after 0.5 s");
  EXPECT_EQ(status(1), ParityStatus::kRustOnly);
}

TEST_F(SweepTest, UnreadableResultsAreTheEnginesFault) {
  const auto subject = engine("tiny-i2_s", "2+2=", "echo '{\"engine\": 3}' > $2/result.json");
  plan_.subject = subject.get();
  ASSERT_TRUE(sweep());
  EXPECT_EQ(status(0), ParityStatus::kSubjectFailed);
  EXPECT_THAT(outcome_.scenarios[0].reason, HasSubstr("result.json"));
}

TEST_F(SweepTest, ARecordingThatLacksAScenarioGivesNoVerdict) {
  const auto subject = engine("tiny-i2_s");
  const auto pack = trace::Pack::create(folder_.path() / "pack", {"m", "s", ""}, "", {{"name", "e"}},
                                        {test::golden_dir() / "tiny-i2_s" / "scenario1"});
  ASSERT_TRUE(pack) << pack.error().line();
  const auto reference = peer::make_pack_peer(*pack, "pack:x");
  plan_.subject = subject.get();
  plan_.reference = reference.get();
  ASSERT_TRUE(sweep());
  EXPECT_EQ(status(0), ParityStatus::kOk) << outcome_.scenarios[0].reason;
  EXPECT_EQ(status(1), ParityStatus::kMistrusted);
  EXPECT_THAT(outcome_.scenarios[1].reason, HasSubstr("nothing was compared"));
  EXPECT_TRUE(outcome_.scenarios[1].reference_has_no_answer);
  EXPECT_FALSE(outcome_.scenarios[0].reference_has_no_answer);
  EXPECT_EQ(outcome::exit_code(outcome_), 5);
}

TEST_F(SweepTest, AnInterruptLeavesOnlyWholeScenarios) {
  const Interrupt interrupt;
  plan_.interrupt = &interrupt;
  const auto subject = engine("tiny-i2_s", "Hello", "touch " + (folder_.path() / "started").string() + "; sleep 30");
  plan_.subject = subject.get();
  std::thread presser([&] {
    for (int i = 0; i < 500 && !fs::exists(folder_.path() / "started"); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ::kill(::getpid(), SIGINT);
  });
  const Status swept = sweep();
  presser.join();
  ASSERT_TRUE(swept);
  EXPECT_EQ(outcome_.scenarios.size(), 1U);
  EXPECT_THAT(test::names_in(output_dir_), testing::ElementsAre("scenario1"));
}

TEST_F(SweepTest, AnEarlierSweepIsReplacedWithItsSummaries) {
  const auto subject = engine("tiny-i2_s");
  plan_.subject = subject.get();
  ASSERT_TRUE(write_file(output_dir_ / "scenario1" / "report.txt", "old"));
  ASSERT_TRUE(write_file(output_dir_ / "scenario1" / "rs-traces" / "old.trace", "old"));
  ASSERT_TRUE(write_file(output_dir_ / "summary.md", "old"));
  ASSERT_TRUE(write_file(output_dir_ / "mine.txt", "keep"));
  ASSERT_TRUE(write_file(output_dir_ / ".scenario2.partial-1" / "x", "left by a killed sweep"));
  ASSERT_TRUE(sweep());
  EXPECT_FALSE(fs::exists(output_dir_ / "scenario1" / "rs-traces" / "old.trace"));
  EXPECT_THAT(test::names_in(output_dir_),
              testing::UnorderedElementsAre("scenario1", "scenario2", "scenario3", "mine.txt"));
}

TEST_F(SweepTest, AFolderThatIsNotOursIsRefusedBeforeAnythingRuns) {
  const auto subject = engine("tiny-i2_s");
  plan_.subject = subject.get();
  ASSERT_TRUE(write_file(output_dir_ / "scenario3" / "thesis.doc", "precious"));
  const Status swept = sweep();
  ASSERT_FALSE(swept);
  EXPECT_EQ(exit_code(swept.error().code), 3);
  EXPECT_THAT(swept.error().line(), HasSubstr("scenario3"));
  EXPECT_EQ(progress_.n_started, 0);
  EXPECT_THAT(test::names_in(output_dir_), testing::ElementsAre("scenario3"));
}

TEST_F(SweepTest, AFailingReportLeavesNothingOfItsScenario) {
  const auto subject = engine("tiny-i2_s");
  plan_.subject = subject.get();
  {
    auto output = OutputFolder::open(output_dir_, {"scenario1"});
    ASSERT_TRUE(output);
    const ReportWriter reports = [](const auto&, const auto&, const fs::path&) -> Status {
      return fail(ErrorCode::kIo, "report.txt", "disk full");
    };
    EXPECT_FALSE(run_sweep(plan_, *output, reports, progress_, outcome_));
  }
  EXPECT_FALSE(fs::exists(output_dir_));
}

}  // namespace
}  // namespace tern::sweep
