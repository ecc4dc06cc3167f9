// What commands that take --reference share about live ones: where bitnet.cpp is looked for, and how waiting for its
// adapter is told.
#pragma once

#include <string>

#include "tern/peer/open_engine.h"

namespace tern::app {

// bitnet_cpp_dir from $BITNET_CPP_DIR, by default ~/.cache/bitnet_cpp, and a log line before a compilation.
peer::OpenOptions reference_options(const std::string& option);

}  // namespace tern::app
