// The process between us and a child: only child_process.cc may call it. Whatever the child starts, and however that
// detaches itself (setsid, a double fork), the kernel hands it to the guardian as soon as its parent has ended
// (PR_SET_CHILD_SUBREAPER), so nothing of it can outlive the guardian. It is a process of its own because adopting
// orphans and waiting for "any child" are properties of a whole process: in ours they would get into the way of
// whatever else we have started.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace tern {

// Everything that the new processes need, made before fork(): after it, only async-signal-safe calls are allowed.
struct ChildLaunch {
  std::string program;
  std::vector<std::string> argv_storage, environment_storage;
  std::vector<char*> argv, environment;  // into the storage, null at the end
  std::string working_dir;
  int null_fd = -1;     // the child's stdin
  int output_fd = -1;   // its stdout and stderr
  int failure_fd = -1;  // gets an errno where the child cannot be started; closed by its exec
  int report_fd = -1;   // gets a ChildReport at the child's end; closed when all its descendants have ended, too
  pid_t parent = 0;     // us
};

struct ChildReport {
  int status = 0;  // as wait4() gives it
  int64_t peak_rss_kib = 0;
};

// Signals to the guardian. The death of our own process sends kEndAll (PR_SET_PDEATHSIG).
constexpr int kAskChildToEnd = SIGTERM;  // passed on to the child's process group
constexpr int kEndAll = SIGUSR1;         // SIGKILL to the child and all its descendants

// To be called in a newly forked process with all signals blocked: starts the child, guards it to its end, reports it,
// kills what it has left behind, and exits. Descendants that may not be killed (they run as another user), or that do
// not end within 5 s (they hang in the kernel), are left.
[[noreturn]] void guard_child(const ChildLaunch& launch);

}  // namespace tern
