// What commands that take --reference share about live engines: the place of bitnet.cpp, and the log line and
// interruption while its adapter is compiled.
#pragma once

#include <string>
#include <vector>

#include "tern/peer/engine_registry.h"
#include "tern/peer/open_engine.h"

namespace tern::app {

// All engines that --reference and --subject can name: peer/'s, tern's own, the adapters'.
peer::EngineRegistry engine_registry();

// A line for each of them: its form and what it is.
std::string engines_help();

// bitnet_cpp_dir from $BITNET_CPP_DIR, by default ~/.cache/bitnet_cpp, and a log line before a compilation.
// `interrupt` ends a compilation and an adapter that is asked for its facts.
peer::OpenOptions reference_options(const std::string& option, const std::vector<std::string>& settings = {},
                                    const Interrupt* interrupt = nullptr);

}  // namespace tern::app
