// Ctrl-C and SIGTERM as a flag that long work polls, instead of a sudden death, so that it can end
// its children and remove its unfinished files.
#pragma once

namespace tern {

// While it lives, SIGINT and SIGTERM are caught and remembered; its end restores what was there before. One at a time
// in a process (a signal handler can only reach static storage), made by the command that owns the long work and
// handed down by pointer.
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
