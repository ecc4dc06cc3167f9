// From a View's parts to those that a Writer takes, for files that are made of other files.
#pragma once

#include "tern/gguf/view.h"
#include "tern/gguf/writer.h"

namespace tern::gguf {

// With the type that it has in its file.
TypedValue typed_value(const Metadata& metadata);

}  // namespace tern::gguf
