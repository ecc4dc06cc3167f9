// Why a side is wrong: what turns what it should have computed into what it did.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tern/base/json.h"
#include "tern/compare/sided.h"

namespace tern::outcome {

struct Cause {
  std::string id;    // one of the contract's cause ids; "unknown" where nothing that was tried explains it
  std::string name;  // the first wrong tensor
  double confidence = 0;
  std::string evidence;
  Json parameters = nullptr;                  // an object: what was measured; null where nothing was
  std::vector<std::string> unexplained = {};  // tensors that are wrong by themselves, and that it leaves wrong
  Json tried = nullptr;                       // an array: what else was held against the data, and how well it fits
  std::optional<compare::Side> side = std::nullopt;  // that is wrong; absent where neither is
};

}  // namespace tern::outcome
