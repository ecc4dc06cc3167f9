// The conclusions that a comparison may come to: a closed list.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tern::compare {

enum class VerdictKind {
  kMatch,            // every compared tensor is equal by hash, all tokens are equal
  kWithinTolerance,  // not all hashes are equal, but everything compared is inside its tolerance
  kDiverged,         // something compared is outside of its tolerance
  kMistrusted,       // the comparison could not have failed, or the data of one side proves nothing
};

struct Verdict {
  VerdictKind kind = VerdictKind::kMistrusted;
  std::string reason;  // one sentence with the figures; empty only for kMatch
};

// "match", "within_tolerance", "diverged", "mistrusted"
std::string_view verdict_name(VerdictKind kind);

}  // namespace tern::compare
