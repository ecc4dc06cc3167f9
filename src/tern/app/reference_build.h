// The adapter that makes a library an engine, compiled before it is needed: `tern reference build`.
#pragma once

#include <string>

#include "tern/base/error.h"
#include "tern/peer/open_engine.h"

namespace tern::app {

// `reference`: as after --reference; auto is the bitnet.cpp in BITNET_CPP_DIR. Errors: kUsage for an engine without an
// adapter; those of peer::EngineRegistry::open().
Result<peer::OpenedEngine> build_reference(const std::string& reference);

// Which engine and library it is, a line for each fact that the adapter states.
std::string built_reference_text(const peer::OpenedEngine& opened);

// "bitnet.cpp:DIR, llama.cpp:DIR": the engines that have one.
std::string engines_with_adapter();

}  // namespace tern::app
