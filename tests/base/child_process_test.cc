#include "tern/base/child_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <thread>
#include <vector>

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

// A process that leaves the group, the session and its parent, as daemons do; its number is in the file `pid`.
constexpr const char* kStartDaemon = "(setsid sh -c 'echo $$ > pid.tmp; mv pid.tmp pid; exec sleep 30' &); ";
constexpr const char* kAwaitDaemon = "while [ ! -e pid ]; do sleep 0.01; done; ";

TEST(ChildProcess, DaemonsThatItLeavesBehindAreKilled) {
  const test::TemporaryFolder folder;
  ChildCommand command = shell(std::string(kStartDaemon) + kAwaitDaemon + "exit 7");
  command.working_dir = folder.path();
  const auto result = run_child(command);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->exit_code, 7);
  EXPECT_LT(result->wall_s, 5.0);
  EXPECT_FALSE(is_alive(pid_in(folder.path() / "pid")));
}

TEST(ChildProcess, DeadlineReachesDaemons) {
  const test::TemporaryFolder folder;
  ChildCommand command = shell(std::string("trap '' TERM; ") + kStartDaemon + "while :; do sleep 0.05; done");
  command.working_dir = folder.path();
  command.timeout_s = 0.5;
  command.grace_s = 0.2;
  const auto result = run_child(command);
  ASSERT_TRUE(result);
  EXPECT_TRUE(result->timed_out);
  EXPECT_EQ(result->signal, SIGKILL);
  EXPECT_FALSE(is_alive(pid_in(folder.path() / "pid")));
}

// One that has the child itself for its parent must be found as well when all is killed at once.
TEST(ChildProcess, AWholeTreeOfSessionsIsKilled) {
  const test::TemporaryFolder folder;
  ChildCommand command = shell(
      "for i in 1 2 3; do setsid sh -c \"echo \\$\\$ > a$i; setsid sh -c 'echo \\$\\$ > b$i; exec sleep 30' & wait\" & "
      "done; "
      "while [ ! -s a1 ] || [ ! -s a2 ] || [ ! -s a3 ] || [ ! -s b1 ] || [ ! -s b2 ] || [ ! -s b3 ]; do sleep 0.01; "
      "done; echo ready; wait");
  command.working_dir = folder.path();
  command.timeout_s = 1.5;
  const auto result = run_child(command);
  ASSERT_TRUE(result);
  ASSERT_EQ(result->output_tail, "ready\n");
  for (const char* name : {"a1", "a2", "a3", "b1", "b2", "b3"}) {
    EXPECT_FALSE(is_alive(pid_in(folder.path() / name))) << name;
  }
}

// Other children of this process stay as they are.
TEST(ChildProcess, OtherChildrenOfOursAreLeftAlone) {
  const pid_t other = ::fork();
  if (other == 0) {
    ::pause();
    ::_exit(0);
  }
  ASSERT_TRUE(run_child(shell("exit 0")));
  EXPECT_TRUE(is_alive(other));
  ::kill(other, SIGKILL);
  ::waitpid(other, nullptr, 0);
}

TEST(ChildProcess, SeveralAtOnceFromThreads) {
  std::vector<std::thread> threads;
  std::array<int, 8> codes{};
  for (size_t i = 0; i < codes.size(); ++i) {
    threads.emplace_back([&codes, i] {
      const auto result = run_child(shell("sleep 0.2; exit " + std::to_string(i + 1)));
      codes[i] = result && result->exit_code ? *result->exit_code : -1;
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_THAT(codes, testing::ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
}

// The kernel then forgets ended children at once, and there is nothing to wait for.
TEST(ChildProcess, EndsAreSeenWhereSigchldIsIgnored) {
  ChildCommand nothing;
  nothing.argv = {"/no/such/program"};
  const auto before = ::signal(SIGCHLD, SIG_IGN);
  const auto result = run_child(shell("exit 7"));
  const auto missing = run_child(nothing);
  ::signal(SIGCHLD, before);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->exit_code, 7);
  EXPECT_LT(result->wall_s, 5.0);
  EXPECT_FALSE(missing);
}

TEST(ChildProcess, UnsetsVariables) {
  for (const char* name : {"TERN_UNSET_A", "TERN_UNSET_B", "TERN_KEPT", "TERN_KEPT_TOO"}) {
    ::setenv(name, "ours", 1);
  }
  ChildCommand command = shell("echo \"$TERN_UNSET_A|$TERN_UNSET_B|$TERN_KEPT|$TERN_KEPT_TOO\"");
  command.unset_environment = {"TERN_UNSET_*", "TERN_KEPT"};
  command.environment = {{"TERN_UNSET_B", "theirs"}};
  const auto result = run_child(command);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->output_tail, "|theirs||ours\n");
}

TEST(FindProgram, LooksInPathAndChecksPaths) {
  EXPECT_TRUE(find_program("sh")->ends_with("/sh"));
  EXPECT_EQ(find_program("/bin/sh").value(), "/bin/sh");
  for (const char* name : {"no-such-program-anywhere", "/no/such/program", "/etc/passwd", "/tmp", ""}) {
    EXPECT_FALSE(find_program(name)) << name;
  }
}

TEST(ChildProcess, FloodIsCutInTheFileAndItsTailKept) {
  const test::TemporaryFolder folder;
  ChildCommand command = shell("head -c 20000000 /dev/zero | tr '\\0' x; echo; echo the end");
  command.output_path = folder.path() / "out.txt";
  command.max_output_bytes = 1000;
  const auto result = run_child(command);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->exit_code, 0);
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

// A test process is forked, told to run `script`, and killed with SIGKILL, which it cannot answer, once a process of
// the script's has written its number to `pid`. Returns whether that one dies, too.
bool dies_with_its_parent(const std::string& script) {
  const test::TemporaryFolder folder;
  const pid_t parent = ::fork();
  if (parent == 0) {
    ChildCommand command = shell(script);
    command.working_dir = folder.path();
    (void)run_child(command);
    ::_exit(0);
  }
  for (int i = 0; i < 200 && !std::filesystem::exists(folder.path() / "pid"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  const pid_t child = pid_in(folder.path() / "pid");
  const bool was_alive = is_alive(child);
  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);
  return was_alive && ends_soon(child);
}

TEST(ChildProcess, DiesWithItsParent) {
  EXPECT_TRUE(dies_with_its_parent("echo $$ > pid.tmp; mv pid.tmp pid; exec sleep 30"));
}

TEST(ChildProcess, DaemonsDieWithItsParent) {
  EXPECT_TRUE(dies_with_its_parent(std::string(kStartDaemon) + "sleep 30"));
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
