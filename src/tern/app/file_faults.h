// Faults that are put into a copy of a model file, whose weights then differ from the right file's. A judge must
// find them.
#pragma once

#include <span>
#include <string>

#include "tern/base/error.h"
#include "tern/gguf/view.h"

namespace tern::app {

struct FileFault {
  const char* name;   // "one negated row"
  const char* does;   // one line
  const char* cause;  // a cause id, as tern selftest prints it
  // Changes `bytes`, a copy of the file behind `view`; tensors keep their places and sizes. Errors: kInvalidInput where
  // the file lacks the tensor.
  Status (*apply)(const gguf::View& view, std::string& bytes);
};

// For files whose ternary tensors are bitnet.cpp's I2_S.
std::span<const FileFault> file_faults();

}  // namespace tern::app
