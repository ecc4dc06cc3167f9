// The rows of the engine registry, each from the file that makes such an engine.
#pragma once

#include <string>
#include <vector>

#include "tern/peer/adapter/manifest.h"
#include "tern/peer/engine_registry.h"
#include "tern/trace/pack.h"

namespace tern::peer {

EngineScheme auto_scheme();     // auto_engine.cc: a recording or bitnet.cpp, where one is found
EngineScheme none_scheme();     // auto_engine.cc
EngineScheme pack_scheme();     // pack_engine.cc: a recording
EngineScheme command_scheme();  // command_engine.cc: any program
// adapter/adapter_engine.cc: one for each scheme of the manifest.
std::vector<EngineScheme> adapter_schemes(const AdapterManifest& manifest);

// Empty if the pack was recorded from this model and tokenizer; otherwise one clause that says what differs.
std::string pack_mismatch(const trace::Pack& pack, const Subject& subject);
// Where `mismatch` is not empty, a note states that --allow-model-mismatch permitted the pack.
OpenedEngine opened_pack(trace::Pack pack, const std::string& folder, const std::string& mismatch);

}  // namespace tern::peer
