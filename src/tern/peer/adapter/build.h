// The program of an adapter: compiled on demand from the adapter's sources against the user's own headers and
// libraries, once per state of all that goes into it, and kept in a cache.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/interrupt.h"
#include "tern/peer/adapter/library.h"
#include "tern/peer/adapter/manifest.h"

namespace tern::peer {

struct AdapterRecipe {
  std::vector<std::filesystem::path> folders;  // each holds adapters, a folder with a manifest each
  // What an adapter that links tern's libraries needs: response files with options and with libraries, written
  // by adapters/CMakeLists.txt.
  std::filesystem::path options, libraries;
  std::string compiler;         // a path, or a name to look up in PATH
  std::filesystem::path cache;  // adapters/ and headers/ are in it

  // The adapters of this source tree and those in the folders of $TERN_ADAPTER_PATH (separated by colons), the compiler
  // and the files that this tern was built with ($CXX, then c++, where that compiler is gone), and
  // $XDG_CACHE_HOME/tern, by default ~/.cache/tern.
  static AdapterRecipe of_this_build();
};

// The program's path. It lies in a folder that is named after the hash of all that goes into it: the adapter's folder,
// tern's libraries, the compiler's path and flags, the user's headers and libraries and where they are. `on_build` is
// called before a compilation, which takes some ten seconds. An adapter without sources is its program as it is.
// Errors: kEngine, where there is no compiler, it fails (its first error is in the message, all it printed in
// build.log), it is interrupted, or the program may not be run; kIo.
Result<std::filesystem::path> build_adapter(const AdapterManifest& manifest, const AdapterLibrary& library,
                                            const AdapterRecipe& recipe, const std::function<void()>& on_build,
                                            const Interrupt* interrupt = nullptr);

}  // namespace tern::peer
