#include "tern/app/live_reference.h"

#include <spdlog/spdlog.h>

#include <filesystem>

#include "tern/base/environment.h"

namespace tern::app {

peer::OpenOptions reference_options(const std::string& option) {
  peer::OpenOptions options;
  options.option = option;
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
