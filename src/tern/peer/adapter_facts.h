// What an adapter says of itself when it is asked with --facts: one JSON object on its standard output,
//   {"name": "llama.cpp 0.5.0 (commit 5ff6c9f)", "arithmetic": null, "level": "tensors",
//    "abilities": ["token_ids", "teacher_tokens", ...],          the keys of abilities.h; absent: none
//    "settings": {"flash_attention": {"values": ["off", "on"]}, "threads": {"from": 1, "to": 64}},
//    "engine_facts": {...}}                                      free: kept as provenance
// Lines before and behind it are passed over, since libraries print lines of their own.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/interrupt.h"
#include "tern/base/json.h"
#include "tern/peer/abilities.h"
#include "tern/peer/settings.h"
#include "tern/trace/level.h"

namespace tern::peer {

struct AdapterFacts {
  std::string name;
  std::string arithmetic;                       // trace::RunResult::arithmetic; empty: not claimed
  trace::Level level = trace::Level::kTensors;  // what it can be compared on
  Abilities abilities;
  std::vector<KnownSetting> settings;
  Json engine_facts;  // an object
};

// `output` is what the adapter printed. Errors: kInvalidInput, naming `where` and the key: no object, a missing key, a
// wrong type, a name or an arithmetic of more than 200 bytes, an unknown level, bad settings.
Result<AdapterFacts> read_adapter_facts(std::string_view output, const std::string& where);

// Starts `command` (the adapter and the words that make it this engine) with --facts and the settings, which
// may decide what it is. Errors: kEngine where it cannot run, refuses the settings or is interrupted; those
// of read_adapter_facts().
Result<AdapterFacts> ask_adapter(const std::vector<std::string>& command, const Settings& settings,
                                 const Interrupt* interrupt = nullptr);

// --setting KEY=VALUE for each but threads and ubatch, which a run has options for.
std::vector<std::string> setting_words(const Settings& settings);

}  // namespace tern::peer
