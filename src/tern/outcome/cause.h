// Why a side is wrong: what changes the right result into the one that it computed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tern/base/json.h"
#include "tern/compare/sided.h"

namespace tern::outcome {

// The confidence of a cause that explains all that is known of a side, where that is hashes and RMS only.
inline constexpr double kMostConfidenceByRms = 0.7;

struct Cause {
  std::string id;    // "weight_scale", "rope_base", ...; "unknown" where nothing that was tried explains it
  std::string name;  // the first wrong tensor
  double confidence = 0;
  std::string evidence;
  Json parameters = nullptr;                  // an object: what was measured; null where nothing was
  std::vector<std::string> unexplained = {};  // tensors that are wrong by themselves, and that it leaves wrong
  Json tried = nullptr;                       // an array: what else was held against the data, and how well it fits
  std::optional<compare::Side> side = std::nullopt;  // that is wrong; absent where neither is
};

}  // namespace tern::outcome
