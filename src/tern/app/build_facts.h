// Facts that the build puts into the program: the version, and where the bundled model is.
#pragma once

#include <string>

namespace tern::app {

// "0.1.0"
const char* version();

// models/tern-tiny of the source tree: its GGUF file, its tokenizer.json.
std::string bundled_model();
std::string bundled_tokenizer();

}  // namespace tern::app
