// The adapter (adapters/llama/) that makes a libllama an engine of the engine contract: compiled on demand against the
// user's own headers and libraries, once per state of those, and kept in a cache.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "tern/base/error.h"
#include "tern/base/json.h"
#include "tern/peer/llama_library.h"

namespace tern::peer {

struct AdapterRecipe {
  std::filesystem::path response_file;  // adapter.rsp: options, sources and libraries of ours (adapters/llama)
  std::string compiler;                 // a path, or a name to look up in PATH
  std::filesystem::path cache;          // adapters/ and headers/ are in it

  // The compiler and the files that this tern was built with ($CXX, then c++, where that compiler is gone), and
  // $XDG_CACHE_HOME/tern, by default ~/.cache/tern.
  static AdapterRecipe of_this_build();
};

// The program's path. It lies in a folder that is named after the hash of all that goes into it: our sources and
// libraries, the compiler's path, the user's headers and libraries and where they are. `on_build` is called before a
// compilation, which takes some ten seconds. Errors: kEngine, where there is no compiler or it fails (what it printed
// is in build.log); kIo.
Result<std::filesystem::path> build_llama_adapter(const LlamaLibrary& library, const AdapterRecipe& recipe,
                                                  const std::function<void()>& on_build);

// What the library says of itself, without a model: {"engine": "bitnet.cpp (libllama of 2024)", "engine_facts": {...}}.
// Errors: kEngine where the program cannot run.
Result<Json> llama_adapter_facts(const std::filesystem::path& program, const std::string& engine_name);

}  // namespace tern::peer
