// Our engines as child processes: `tern run`, by the path of the program that is running.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/gguf/view.h"
#include "tern/kernels/table.h"
#include "tern/peer/engine_registry.h"
#include "tern/peer/open_engine.h"
#include "tern/peer/peer.h"

namespace tern::app {

// The program that is running. Errors: kEngine when it cannot be found.
Result<std::filesystem::path> own_program();

// `tern run`: greedy, seed 42, no early stop, and `more_words` at the end (oracle_engine_words()). It has every ability
// of peer/abilities.h. `isa`: a kernel table to be forced; empty: none. Errors: kEngine when our own path cannot be
// found.
Result<std::unique_ptr<peer::Peer>> make_tern_peer(const std::vector<std::string>& more_words = {},
                                                   std::string_view isa = {}, const peer::Settings& settings = {});

// The scheme `tern`: `tern run`, with the settings isa, threads and ubatch. Opening fails as make_tern_peer() does, and
// with kUsage for another setting.
peer::EngineScheme tern_scheme();

// The arithmetics that our engine can follow bit for bit. --activation-rounding takes `option`.
struct OwnArithmetic {
  std::string_view name, option;
  kernels::ActivationRounding rounding;
};
std::span<const OwnArithmetic> own_arithmetics();

// What makes `tern run` the oracle, and `more` at the end.
std::vector<std::string> oracle_engine_words(const std::vector<std::string>& more = {});

// The rounding with which our engine is compared with one of that arithmetic.
kernels::ActivationRounding rounding_to_meet(const std::string& arithmetic);

// Which rounding rules our engine's numbers follow (trace::RunResult::arithmetic): claimed only where it is specified
// to the bit, which is bitnet.cpp's own layout with float16 or float32 embeddings. No reference says how the two other
// layouts, or float projections of any width, are to be summed. Empty: not claimed.
std::string own_arithmetic(const gguf::View& view, kernels::ActivationRounding rounding);

// The words that were typed, for reports.
std::vector<std::string> typed_command();

}  // namespace tern::app
