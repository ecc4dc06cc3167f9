#include "tern/app/reference_build.h"

#include <fmt/format.h>

#include "tern/app/live_reference.h"

namespace tern::app {
namespace {

std::string forms_with_adapter(const peer::EngineRegistry& registry) {
  return registry.forms([](const peer::EngineScheme& scheme) { return scheme.traits.has_adapter; });
}

// Null where there is none.
Json stated(const Json& object, const char* key) {
  return object.is_object() && object.contains(key) ? object.at(key) : Json();
}

}  // namespace

std::string engines_with_adapter() { return forms_with_adapter(engine_registry()); }

Result<peer::OpenedEngine> build_reference(const std::string& reference) {
  const peer::EngineRegistry registry = engine_registry();
  TERN_ASSIGN_OR_RETURN(peer::EngineSpec spec, registry.parse(reference, "--reference"));
  const peer::OpenOptions options = reference_options("--reference");
  if (registry.find(spec.scheme)->traits.is_choice) {
    spec = peer::tree_of_auto(options);
  }
  // Null for bitnet.cpp where the folder of adapters is gone; open() then states what there is.
  const peer::EngineScheme* const scheme = registry.find(spec.scheme);
  if (scheme != nullptr && !scheme->traits.has_adapter) {
    return fail(ErrorCode::kUsage, "--reference " + printable(reference), "needs no adapter",
                "only these do: " + forms_with_adapter(registry));
  }
  return registry.open(spec, {}, options);
}

std::string built_reference_text(const peer::OpenedEngine& opened) {
  std::string text;
  const auto add = [&](std::string_view label, const Json& value) {
    if (value.is_string()) {
      text += fmt::format("{:<10}{}\n", label, printable(value.get<std::string>(), 1000));
    }
  };
  const Json facts = stated(opened.details, "engine");
  const Json layout = stated(opened.details, "layout");
  add("Engine:", opened.engine);
  add("Found:", layout.is_string() ? opened.spec + " (" + layout.get<std::string>() + ")" : opened.spec);
  add("Adapter:", stated(opened.details, "adapter"));
  for (const Json& library : stated(facts, "libraries")) {
    add("Library:", stated(library, "path"));
    add("  sha256:", stated(library, "sha256"));
  }
  add("Built for:", stated(facts, "system_info"));
  add("CPU:", stated(facts, "cpu"));
  return text;
}

}  // namespace tern::app
