#include "tern/trace/level.h"

#include <algorithm>

namespace tern::trace {

std::string_view level_name(Level level) {
  switch (level) {
    case Level::kTokens:
      return "tokens";
    case Level::kLogits:
      return "logits";
    case Level::kTensors:
      return "tensors";
  }
  return "?";
}

std::optional<Level> parse_level(std::string_view name) {
  const auto* const found =
      std::find_if(kLevels.begin(), kLevels.end(), [&](Level level) { return level_name(level) == name; });
  return found == kLevels.end() ? std::nullopt : std::optional(*found);
}

std::string level_names() {
  std::string out;
  for (const Level level : kLevels) {
    out.append(out.empty() ? "" : ", ").append(level_name(level));
  }
  return out;
}

}  // namespace tern::trace
