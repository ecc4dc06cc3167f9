// Why a side is wrong: a fault with which the oracle computes what that side did.
#pragma once

#include <string>

namespace tern::outcome {

struct Cause {
  std::string id;    // one of the contract's cause ids; "unknown" where nothing that was tried explains it
  std::string name;  // the first wrong tensor
  double confidence = 0;
  std::string evidence;
};

}  // namespace tern::outcome
