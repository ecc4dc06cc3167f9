// A comparison with peers as Markdown, for people, and as JSON, for programs. Called by compare_peers.
#pragma once

#include <string>

#include "comparison.h"
#include "tern/base/json.h"

namespace tern::bench {

// Tables: goals, speeds, ratios by engine and threads, the published sizes. Names from the command line are escaped.
std::string markdown(const Comparison& comparison);

// Every sample of every figure, the goals, and how it was measured. What was not measured is null or absent.
Json to_json(const Comparison& comparison);

}  // namespace tern::bench
