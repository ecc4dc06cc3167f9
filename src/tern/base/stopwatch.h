// Wall-clock time, for figures in results and for deadlines.
#pragma once

#include <chrono>

namespace tern {

// Starts when it is made. Uses the monotonic clock.
class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

}  // namespace tern
