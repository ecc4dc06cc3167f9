// What a scenario comes to where there are not two runs to judge. Private to sweep/; pure.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "tern/outcome/sweep_outcome.h"
#include "tern/peer/peer.h"
#include "tern/sweep/sweep.h"

namespace tern::sweep {

// The status, and one sentence with the reason.
using StatusAndReason = std::pair<outcome::ParityStatus, std::string>;

// Where a side has no run although it was to have one; nullopt where arbiter/judgement.h has the say.
std::optional<StatusAndReason> without_judgement(const peer::PeerRun& subject,
                                                 const std::optional<peer::PeerRun>& reference,
                                                 const outcome::ScenarioOutcome& outcome);

}  // namespace tern::sweep
