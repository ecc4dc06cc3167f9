#include "tern/app/live_reference.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <filesystem>

#include "tern/app/own_engine.h"
#include "tern/base/environment.h"

namespace tern::app {

peer::EngineRegistry engine_registry() {
  return peer::EngineRegistry::load(peer::AdapterRecipe::of_this_build(), {tern_scheme()});
}

std::string engines_help() {
  std::string text;
  const peer::EngineRegistry registry = engine_registry();
  for (const peer::EngineScheme& scheme : registry.schemes()) {
    text += fmt::format("  {:<28}{}\n", scheme.form(), scheme.about);
  }
  return text;
}

peer::OpenOptions reference_options(const std::string& option, const std::vector<std::string>& settings,
                                    const Interrupt* interrupt) {
  peer::OpenOptions options;
  options.option = option;
  options.settings = settings;
  options.interrupt = interrupt;
  options.on_build = [](const std::string& tree) {
    spdlog::info("building the adapter for {} (once; some ten seconds)", printable(tree, 1000));
  };
  if (const char* dir = environment_variable("BITNET_CPP_DIR"); dir != nullptr) {
    options.bitnet_cpp_dir = dir;
    options.bitnet_cpp_dir_is_set = true;
  } else if (const char* home = environment_variable("HOME"); home != nullptr) {
    options.bitnet_cpp_dir = std::filesystem::path(home) / ".cache" / "bitnet_cpp";
  }
  return options;
}

}  // namespace tern::app
