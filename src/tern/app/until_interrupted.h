// Runs a command's work. After Ctrl-C the exit code is the signal's, whatever the work returns.
#pragma once

#include "tern/base/error.h"
#include "tern/base/interrupt.h"

namespace tern::app {

constexpr int exit_code_of_signal(int signal) { return 128 + signal; }

// `work`: Result<int>(const Interrupt&), which returns soon after there is a signal.
template <class Work>
Result<int> until_interrupted(const Work& work) {
  const Interrupt interrupt;
  Result<int> done = work(interrupt);
  return interrupt.signal() != 0 ? Result<int>(exit_code_of_signal(interrupt.signal())) : std::move(done);
}

}  // namespace tern::app
