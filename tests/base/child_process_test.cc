#include "tern/base/child_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "support/paths.h"
#include "tern/base/file.h"

namespace tern {
namespace {

using testing::HasSubstr;

ChildCommand shell(const std::string& script) {
  ChildCommand command;
  command.argv = {"/bin/sh", "-c", script};
  command.timeout_s = 20;
  return command;
}

bool is_alive(pid_t pid) {
  // A killed process whose parent has not waited for it yet is a zombie: it answers kill(0), but does nothing any more.
  const auto stat = read_file("/proc/" + std::to_string(pid) + "/stat", 4096);
  return stat && stat->find(") Z ") == std::string::npos;
}

// The process is reaped by init at its own pace.
bool ends_soon(pid_t pid) {
  for (int i = 0; i < 100 && is_alive(pid); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return !is_alive(pid);
}

pid_t pid_in(const std::filesystem::path& file) { return std::stoi(read_file(file, 100).value()); }

TEST(ChildProcess, TakesExitCodeAndBothStreams) {
  const test::TemporaryFolder folder;
  ChildCommand command = shell("echo out; echo err >&2; cat; exit 7");
  command.output_path = folder.path() / "out.txt";
  const auto result = run_child(command);
  ASSERT_TRUE(result) << result.error().line();
  EXPECT_EQ(result->exit_code, 7);
  EXPECT_EQ(result->signal, std::nullopt);
  EXPECT_FALSE(result->timed_out);
  EXPECT_EQ(read_file(command.output_path, 1000).value(), "out\nerr\n");
  EXPECT_EQ(result->output_tail, "out\nerr\n");
  EXPECT_GT(result->peak_rss_bytes, 100'000U);
}

TEST(ChildProcess, PassesEnvironmentAndFolder) {
  const test::TemporaryFolder folder;
  ::setenv("TERN_CHILD_TEST", "ours", 1);
  ChildCommand command = shell("echo \"$TERN_CHILD_TEST $HOME_OF_TEST\"; pwd");
  command.environment = {{"TERN_CHILD_TEST", "theirs"}, {"HOME_OF_TEST", "a b"}};
  command.working_dir = folder.path();
  const auto result = run_child(command);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->output_tail, "theirs a b\n" + std::filesystem::canonical(folder.path()).string() + "\n");
}

TEST(ChildProcess, FindsProgramsInPathAndPassesArgumentsUntouched) {
  ChildCommand command;
  command.argv = {"printf", "%s|", "a b", "$HOME", "'", ""};
  const auto result = run_child(command);
  ASSERT_TRUE(result) << result.error().line();
  EXPECT_EQ(result->output_tail, "a b|$HOME|'||");
}

TEST(ChildProcess, NamesASignal) {
  const auto result = run_child(shell("kill -SEGV $$"));
  ASSERT_TRUE(result);
  EXPECT_EQ(result->exit_code, std::nullopt);
  EXPECT_EQ(result->signal, SIGSEGV);
  EXPECT_EQ(signal_name(*result->signal), "SIGSEGV");
}

TEST(ChildProcess, MissingProgramsAreEngineErrors) {
  const std::string names[] = {"/no/such/program", "no-such-program-anywhere", "/etc/passwd", "/tmp", ""};
  for (const std::string& name : names) {
    ChildCommand command;
    command.argv = {name};
    const auto result = run_child(command);
    ASSERT_FALSE(result) << name;
    EXPECT_EQ(result.error().code, ErrorCode::kEngine);
    EXPECT_EQ(result.error().where, name);
    EXPECT_THAT(result.error().what, HasSubstr("cannot be started"));
  }
}

TEST(ChildProcess, EndsAtTheDeadline) {
  ChildCommand command;
  command.argv = {"/bin/sleep", "30"};
  command.timeout_s = 0.3;
  const auto result = run_child(command);
  ASSERT_TRUE(result);
  EXPECT_TRUE(result->timed_out);
  EXPECT_EQ(result->signal, SIGTERM);
  EXPECT_GE(result->wall_s, 0.3);
  EXPECT_LT(result->wall_s, 3.0);
}

TEST(ChildProcess, KillsOneThatIgnoresTheRequest) {
  ChildCommand command = shell("trap '' TERM; while :; do sleep 0.05; done");
  command.timeout_s = 0.3;
  command.grace_s = 0.3;
  const auto result = run_child(command);
  ASSERT_TRUE(result);
  EXPECT_TRUE(result->timed_out);
  EXPECT_EQ(result->signal, SIGKILL);
  EXPECT_LT(result->wall_s, 3.0);
}

TEST(ChildProcess, DeadlineReachesGrandchildren) {
  const test::TemporaryFolder folder;
  ChildCommand command = shell("sleep 30 & echo $! > pid; wait");
  command.working_dir = folder.path();
  command.timeout_s = 0.5;
  const auto result = run_child(command);
  ASSERT_TRUE(result);
  EXPECT_TRUE(result->timed_out);
  EXPECT_TRUE(ends_soon(pid_in(folder.path() / "pid")));
}

// The grandchild holds the output pipe open: waiting for its end would take 30 s.
TEST(ChildProcess, DescendantsThatOutliveItAreKilled) {
  const test::TemporaryFolder folder;
  ChildCommand command = shell("sleep 30 & echo $! > pid; echo done");
  command.working_dir = folder.path();
  const auto result = run_child(command);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->exit_code, 0);
  EXPECT_EQ(result->output_tail, "done\n");
  EXPECT_LT(result->wall_s, 5.0);
  EXPECT_TRUE(ends_soon(pid_in(folder.path() / "pid")));
}

TEST(ChildProcess, FloodIsCutInTheFileAndItsTailKept) {
  const test::TemporaryFolder folder;
  ChildCommand command = shell("head -c 20000000 /dev/zero | tr '\\0' x; echo; echo the end");
  command.output_path = folder.path() / "out.txt";
  command.max_output_bytes = 1000;
  const auto result = run_child(command);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->exit_code, 0);
  EXPECT_EQ(result->output_bytes, 20'000'009U);
  EXPECT_EQ(result->output_tail.size(), 4096U);
  EXPECT_TRUE(result->output_tail.ends_with("x\nthe end\n"));
  const std::string file = read_file(command.output_path, 2000).value();
  EXPECT_EQ(file, std::string(1000, 'x') + "\n[the output went on; it was cut here]\n");
}

TEST(ChildProcess, EndlessFloodStillMeetsTheDeadline) {
  ChildCommand command = shell("yes");
  command.timeout_s = 0.3;
  const auto result = run_child(command);
  ASSERT_TRUE(result);
  EXPECT_TRUE(result->timed_out);
  EXPECT_LT(result->wall_s, 3.0);
}

TEST(ChildProcess, InterruptEndsIt) {
  const Interrupt interrupt;
  ChildCommand command;
  command.argv = {"/bin/sleep", "30"};
  command.interrupt = &interrupt;
  std::thread presser([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    ::kill(::getpid(), SIGINT);
  });
  const auto result = run_child(command);
  presser.join();
  ASSERT_TRUE(result);
  EXPECT_TRUE(result->interrupted);
  EXPECT_FALSE(result->timed_out);
  EXPECT_EQ(interrupt.signal(), SIGINT);
  EXPECT_LT(result->wall_s, 3.0);
}

// A test process is forked, told to run a child, and killed with SIGKILL, which it cannot answer.
TEST(ChildProcess, DiesWithItsParent) {
  const test::TemporaryFolder folder;
  const pid_t parent = ::fork();
  if (parent == 0) {
    ChildCommand command = shell("echo $$ > pid.tmp; mv pid.tmp pid; exec sleep 30");
    command.working_dir = folder.path();
    (void)run_child(command);
    ::_exit(0);
  }
  for (int i = 0; i < 200 && !std::filesystem::exists(folder.path() / "pid"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  const pid_t child = pid_in(folder.path() / "pid");
  EXPECT_TRUE(is_alive(child));
  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);
  EXPECT_TRUE(ends_soon(child));
}

TEST(ChildProcess, TicksWhileItRuns) {
  ChildCommand command;
  command.argv = {"/bin/sleep", "0.5"};
  int n_ticks = 0;
  command.on_tick = [&](double elapsed_s) {
    EXPECT_GT(elapsed_s, 0.05);
    ++n_ticks;
  };
  ASSERT_TRUE(run_child(command));
  EXPECT_GE(n_ticks, 2);
}

TEST(ChildProcess, UnwritableOutputIsAnIoError) {
  ChildCommand command = shell("exit 0");
  command.output_path = "/no/such/folder/out.txt";
  const auto result = run_child(command);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kIo);
}

}  // namespace
}  // namespace tern
