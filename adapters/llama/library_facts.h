// Which library this really is: what a report needs to name the engine, and tern to see whether a tree was rebuilt.
#pragma once

#include <string>

#include "tern/base/error.h"
#include "tern/base/json.h"

namespace tern::adapter {

// Libraries since late 2024 may come without a backend linked in and load one at run time: the best libggml-cpu-*.so in
// `folder`, or beside libggml where it is empty. Does nothing with a library that knows no such thing.
void load_backends(const std::string& folder);

// {"api", "libraries": [{"path", "sha256"}], "version", "commit", "system_info", "cpu", "cpu_flags", "compiler"}; what
// cannot be had is null. Errors: kIo, for a library that cannot be read.
Result<Json> library_facts();

// "llama.cpp 0.5.0 (commit 1234567)": `name`, or a name for want of one, and what the facts add.
std::string engine_name(const std::string& name, const Json& facts);

}  // namespace tern::adapter
