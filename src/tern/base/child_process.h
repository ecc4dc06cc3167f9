// Another program, run to its end under a deadline: how tern runs engines, its own included. A crash, a hang or a flood
// of output of that program is a result here, and no error of tern.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/interrupt.h"

namespace tern {

struct ChildCommand {
  std::vector<std::string> argv;                   // argv[0] is looked up in PATH unless it holds a '/'
  std::map<std::string, std::string> environment;  // set on top of our own environment
  // Variables of ours that it does not get: names, or "GIT_*" for all that start with GIT_. `environment` wins.
  std::vector<std::string> unset_environment;
  std::filesystem::path working_dir;               // empty: ours
  std::filesystem::path output_path;               // stdout and stderr in one file, as they come; empty: kept nowhere
  uint64_t max_output_bytes = uint64_t{64} << 20;  // what comes after is read and dropped, and the file says so
  double timeout_s = 180;
  double grace_s = 2;                             // between SIGTERM and SIGKILL
  const Interrupt* interrupt = nullptr;           // where set and signalled, the child is ended
  std::function<void(double elapsed_s)> on_tick;  // called about 10 times a second while the child runs
  std::function<bool()> enough;         // asked after each of these: true ends the child, which has done what it should
  std::function<void()> before_ending;  // called before SIGTERM is sent: a last look at what the child has done
};

struct ChildResult {
  std::optional<int> exit_code;  // absent if a signal ended it
  std::optional<int> signal;
  bool timed_out = false;
  bool interrupted = false;
  bool did_enough = false;  // and was ended for that
  double wall_s = 0;
  uint64_t peak_rss_bytes = 0;  // of the child and of those of its children that it waited for
  std::string output_tail;      // the last 4 KiB of what it wrote
};

// Runs the command with /dev/null as stdin in a process group of its own. At the deadline, when interrupted, or when it
// has done enough, that group gets SIGTERM and, after the grace, the child and all its descendants get SIGKILL.
// Whatever outlives the child is killed with it, even where it has left the group (setsid, daemons), and also if our
// own process dies (child_guardian.h says how). Does not depend on what our process does with SIGCHLD. Call it from a
// thread that lives as long as the child may. Errors: kEngine when it cannot be started (naming argv[0] and the cause),
// kIo when `output_path` cannot be written.
Result<ChildResult> run_child(const ChildCommand& command);

// Where a program is, as execvp() looks it up: through PATH, or as it stands if it holds a '/'. Errors: kEngine, when
// there is none that may be run.
Result<std::string> find_program(const std::string& name);

// "SIGSEGV" for 11; "signal 64" for one without a name.
std::string signal_name(int number);

}  // namespace tern
