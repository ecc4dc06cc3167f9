// How one engine's process went.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace tern::outcome {

struct Execution {
  std::vector<std::string> command;                // empty: nothing was run (a pack)
  std::map<std::string, std::string> environment;  // what was set for it
  std::optional<int> exit_code;                    // absent if it was killed or never started
  std::optional<int> signal;
  bool timed_out = false;
  bool ended_at_difference = false;  // it was ended there, before its time (SweepPlan::stop_at_divergence)
  double timeout_s = 0;
  double wall_s = 0;
  std::optional<uint64_t> peak_rss_bytes;
  std::string failure;                     // one sentence; empty if it ended well and its files could be read
  std::optional<std::string> last_tensor;  // where it was when it failed, if it had traced anything
  bool ok() const { return failure.empty(); }
};

}  // namespace tern::outcome
