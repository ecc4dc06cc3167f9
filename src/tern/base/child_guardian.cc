#include "tern/base/child_guardian.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>

// Nothing here may allocate, lock or throw: the process that was forked can have had other threads.
namespace tern {
namespace {

[[noreturn]] void fail_to_start(const ChildLaunch& launch) {
  const int error_number = errno;
  [[maybe_unused]] const ssize_t ignored = ::write(launch.failure_fd, &error_number, sizeof(error_number));
  ::_exit(127);
}

[[noreturn]] void become_child(const ChildLaunch& launch, pid_t guardian) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != guardian) {
    ::_exit(127);  // the guardian died before the line above took effect
  }
  struct sigaction defaults = {};
  defaults.sa_handler = SIG_DFL;
  for (const int number : {SIGINT, SIGTERM, SIGQUIT, SIGPIPE, SIGCHLD, SIGHUP, SIGUSR1}) {
    ::sigaction(number, &defaults, nullptr);
  }
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const bool prepared = ::dup2(launch.null_fd, STDIN_FILENO) >= 0 && ::dup2(launch.output_fd, STDOUT_FILENO) >= 0 &&
                        ::dup2(launch.output_fd, STDERR_FILENO) >= 0 &&
                        (launch.working_dir.empty() || ::chdir(launch.working_dir.c_str()) == 0);
  if (prepared) {
    ::execve(launch.program.c_str(), launch.argv.data(), launch.environment.data());
  }
  fail_to_start(launch);
}

// A pipe or lock of ours that the guardian held open would look as if we still did.
void close_all_but(const ChildLaunch& launch) {
  const auto kept = static_cast<unsigned>(launch.report_fd);
  const bool closed = (kept == 0 || ::close_range(0, kept - 1, 0) == 0) && ::close_range(kept + 1, UINT_MAX, 0) == 0;
  if (!closed) {  // before Linux 5.9
    ::close(launch.output_fd);
    ::close(launch.failure_fd);
  }
}

struct Guarded {
  pid_t child;
  int report_fd;
  bool has_ended = false;
};

// Waits for all that have ended, without blocking, and reports the child if it is among them. False when no
// process is left to wait for.
bool reap(Guarded& guarded) {
  for (;;) {
    siginfo_t info = {};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0) {
      return errno != ECHILD;
    }
    if (info.si_pid == 0) {
      return true;
    }
    const bool is_child = info.si_pid == guarded.child;
    if (is_child) {
      ::kill(-guarded.child, SIGKILL);  // its group; now, while its zombie keeps the group's number from being reused
    }
    ChildReport report;
    rusage usage = {};
    ::wait4(info.si_pid, &report.status, 0, &usage);
    if (is_child) {
      report.peak_rss_kib = usage.ru_maxrss;
      guarded.has_ended = true;
      [[maybe_unused]] const ssize_t ignored = ::write(guarded.report_fd, &report, sizeof(report));
    }
  }
}

struct Kills {
  int n_seen = 0;
  int n_killed = 0;
};

// The kernel lists our direct children as "12 345 ". What does not fit is found when these are gone.
Kills kill_direct_children() {
  Kills kills;
  const int fd = ::open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
  std::array<char, 4096> text;
  const ssize_t n = fd < 0 ? 0 : ::read(fd, text.data(), text.size());
  ::close(fd);
  pid_t pid = 0;
  for (ssize_t i = 0; i < n; ++i) {
    const char c = text[static_cast<size_t>(i)];
    if (c >= '0' && c <= '9') {
      pid = pid * 10 + (c - '0');
    } else if (pid > 0) {
      kills.n_seen += 1;
      kills.n_killed += ::kill(pid, SIGKILL) == 0 ? 1 : 0;
      pid = 0;
    }
  }
  return kills;
}

// The children of those killed become ours, and their turn is next.
void end_all(Guarded& guarded) {
  constexpr int kRounds = 5000;  // of 1 ms
  constexpr timespec kPause{0, 1'000'000};
  for (int round = 0; round < kRounds && reap(guarded); ++round) {
    if (!guarded.has_ended) {
      ::kill(-guarded.child, SIGKILL);
    }
    const Kills kills = kill_direct_children();
    if (guarded.has_ended && kills.n_seen > 0 && kills.n_killed == 0) {
      break;  // none that we may kill
    }
    ::nanosleep(&kPause, nullptr);
  }
}

}  // namespace

void guard_child(const ChildLaunch& launch) {
  ::setpgid(0, 0);  // a terminal's Ctrl-C is for us alone; we decide what it means for the child
  struct sigaction defaults = {};
  defaults.sa_handler = SIG_DFL;
  for (const int number : {SIGCHLD, kAskChildToEnd, kEndAll}) {
    ::sigaction(number, &defaults, nullptr);  // ignored signals could not be waited for
  }
  ::prctl(PR_SET_PDEATHSIG, kEndAll);
  if (::getppid() != launch.parent) {
    ::_exit(127);
  }
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::prctl(PR_SET_NAME, "tern-guardian");
  const pid_t guardian = ::getpid();
  const pid_t child = ::_Fork();
  if (child < 0) {
    fail_to_start(launch);
  }
  if (child == 0) {
    become_child(launch, guardian);
  }
  ::setpgid(child, child);  // in both processes: the group exists for the one that needs it first
  close_all_but(launch);

  Guarded guarded{child, launch.report_fd};
  sigset_t expected;
  sigemptyset(&expected);
  for (const int number : {SIGCHLD, kAskChildToEnd, kEndAll}) {
    sigaddset(&expected, number);
  }
  while (!guarded.has_ended) {
    const int number = ::sigwaitinfo(&expected, nullptr);
    if (number == kEndAll) {
      break;
    }
    if (number == kAskChildToEnd) {
      ::kill(-child, SIGTERM);
    }
    reap(guarded);
  }
  end_all(guarded);
  ::_exit(0);
}

}  // namespace tern
