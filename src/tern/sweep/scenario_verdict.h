// What a scenario comes to: its status, and the sentence with the reason. Private to sweep/; pure.
#pragma once

#include <optional>

#include "tern/outcome/sweep_outcome.h"
#include "tern/peer/peer.h"
#include "tern/sweep/sweep.h"

namespace tern::sweep {

// Status and reason from what the two sides did, before the oracle is heard.
void judge(const SweepPlan& plan, const peer::PeerRun& subject, const std::optional<peer::PeerRun>& reference,
           outcome::ScenarioOutcome& outcome);

// What the oracle says outranks what the two sides say of each other.
void hear_oracle(outcome::ScenarioOutcome& outcome);

}  // namespace tern::sweep
