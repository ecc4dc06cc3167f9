// Ctrl-C and SIGTERM as a flag that long work polls. The process then ends its children and removes its unfinished
// files before it exits.
#pragma once

namespace tern {

// An Interrupt catches SIGINT and SIGTERM until its destructor restores the former handlers. A process has at most one
// at a time, since a signal handler can only reach static storage. The command that runs the long work makes it and
// hands it down by pointer.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // The first signal that arrived (SIGINT or SIGTERM); 0 if none has. The command's exit code is then 128 + signal.
  int signal() const;
};

}  // namespace tern
