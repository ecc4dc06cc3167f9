// What two runs are compared on. Each level holds those before it: logits are compared beside the tokens.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tern::trace {

enum class Level : uint8_t { kTokens, kLogits, kTensors };

inline constexpr std::array kLevels = {Level::kTokens, Level::kLogits, Level::kTensors};

// "tokens", "logits", "tensors"
std::string_view level_name(Level level);
std::optional<Level> parse_level(std::string_view name);
// "tokens, logits, tensors"
std::string level_names();

}  // namespace tern::trace
