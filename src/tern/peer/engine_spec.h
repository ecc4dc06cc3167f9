// What a user writes after --reference and --subject to name an engine.
#pragma once

#include <string>
#include <string_view>

#include "tern/base/error.h"

namespace tern::peer {

enum class EngineKind {
  kAuto,  // a recording beside the model, if there is one that fits
  kNone,
  kBitnetCpp,  // bitnet.cpp:DIR, a built source tree
  kLlamaCpp,   // llama.cpp:DIR
  kPack,       // pack:DIR, a recording (trace/pack.h)
  kCommand,    // command:'...', any program (command_template.h)
};

struct EngineSpec {
  EngineKind kind = EngineKind::kAuto;
  std::string argument;  // what stands behind the colon

  std::string text() const;  // as written
};

// `option`: "--reference" or "--subject", for the error. Errors: kUsage, with the list of forms.
Result<EngineSpec> parse_engine_spec(std::string_view text, const std::string& option);

// "auto", "none", "bitnet.cpp", "llama.cpp", "pack", "command"
std::string_view engine_kind_name(EngineKind kind);

}  // namespace tern::peer
