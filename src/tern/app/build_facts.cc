#include "tern/app/build_facts.h"

namespace tern::app {

const char* version() { return TERN_VERSION; }

std::string bundled_model() { return TERN_BUNDLED_MODEL_DIR "/tern-tiny-i2_s.gguf"; }

std::string bundled_tokenizer() { return TERN_BUNDLED_MODEL_DIR "/tokenizer.json"; }

}  // namespace tern::app
