#include "tern/peer/engine_spec.h"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace tern::peer {
namespace {

constexpr const char* kForms = "auto, none, bitnet.cpp:DIR, llama.cpp:DIR, pack:DIR or command:'PROGRAM ARGUMENTS'";

constexpr std::array<std::pair<EngineKind, std::string_view>, 6> kNames = {{
    {EngineKind::kAuto, "auto"},
    {EngineKind::kNone, "none"},
    {EngineKind::kBitnetCpp, "bitnet.cpp"},
    {EngineKind::kLlamaCpp, "llama.cpp"},
    {EngineKind::kPack, "pack"},
    {EngineKind::kCommand, "command"},
}};

bool takes_argument(EngineKind kind) { return kind != EngineKind::kAuto && kind != EngineKind::kNone; }

}  // namespace

std::string_view engine_kind_name(EngineKind kind) {
  for (const auto& [candidate, name] : kNames) {
    if (candidate == kind) {
      return name;
    }
  }
  return {};
}

std::string EngineSpec::text() const {
  return takes_argument(kind) ? fmt::format("{}:{}", engine_kind_name(kind), argument)
                              : std::string(engine_kind_name(kind));
}

Result<EngineSpec> parse_engine_spec(std::string_view text, const std::string& option) {
  const size_t colon = text.find(':');
  const std::string_view head = text.substr(0, colon);
  for (const auto& [kind, name] : kNames) {
    if (head != name || takes_argument(kind) != (colon != std::string_view::npos)) {
      continue;
    }
    EngineSpec spec{kind, takes_argument(kind) ? std::string(text.substr(colon + 1)) : std::string()};
    if (takes_argument(kind) && spec.argument.find_first_not_of(" \t\n") == std::string::npos) {
      return fail(ErrorCode::kUsage, option, fmt::format("'{}' has nothing behind the colon", text), kForms);
    }
    return spec;
  }
  return fail(ErrorCode::kUsage, option, fmt::format("'{}' is no engine that tern knows", text),
              fmt::format("one of: {}", kForms));
}

}  // namespace tern::peer
