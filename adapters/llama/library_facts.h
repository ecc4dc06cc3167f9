// Which library this really is: what a report needs to name the engine, and tern to see whether a tree was rebuilt.
#pragma once

#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/json.h"

namespace tern::adapter {

// Libraries since late 2024 may come without a backend linked in and load one at run time: the best libggml-cpu-*.so in
// `folder` for this CPU, or beside libggml where it is empty. With a `variant`, that one: libggml-cpu-<variant>.so.
// Does nothing with a library that has a backend already. Errors: kEngine: a variant that this CPU cannot run; kUsage:
// a variant where there are none to choose from.
Status load_backends(const std::string& folder, const std::string& variant);

// The variants in that folder, sorted; empty where the library does not choose among such.
std::vector<std::string> cpu_variants(const std::string& folder);

// {"api", "libraries": [{"path", "sha256"}], "version", "commit", "system_info", "cpu", "cpu_flags", "compiler"}; what
// cannot be had is null. Errors: kIo, for a library that cannot be read.
Result<Json> library_facts();

// "llama.cpp 0.5.0 (commit 1234567)": `name`, or a default where it is empty, and what the facts add.
std::string engine_name(const std::string& name, const Json& facts);

}  // namespace tern::adapter
