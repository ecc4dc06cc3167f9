// Where libllama is in what a user calls "a bitnet.cpp" or "a llama.cpp": headers and shared libraries of one version,
// to compile the adapter (llama_adapter.h) against.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/peer/engine_spec.h"

namespace tern::peer {

// Absolute paths.
struct LlamaLibrary {
  std::string layout;                          // "bitnet.cpp tree", "llama.cpp tree", "installed prefix", "npm package"
  std::vector<std::filesystem::path> include;  // folders of llama.h and of ggml.h
  std::vector<std::filesystem::path> link;     // libllama, libggml, and libggml-base where there is one
};

// Looks at `folder` as `kind` (kBitnetCpp or kLlamaCpp) says:
//   bitnet.cpp  3rdparty/llama.cpp/{include,ggml/include}; libraries in build/3rdparty/llama.cpp/{src,ggml/src},
//               build/bin, build/lib, or build/{src,ggml/src}: the first place that has both
//   llama.cpp   a source tree: {include,ggml/include}; build/bin, build/lib, build/{src,ggml/src}
//               an installed prefix: include; lib*, lib*/*-linux-gnu
//               a node_modules folder with node-llama-cpp: prebuilt libraries, and the source they were built from as a
//               git bundle; its headers are unpacked into `cache`
// `where` names the option in errors. Errors: kIo, where there is no such folder; kInvalidInput, where it is not such a
// tree, is not built, or (npm) has headers and libraries of two versions; kEngine, where git cannot unpack the bundle.
Result<LlamaLibrary> find_llama_library(EngineKind kind, const std::filesystem::path& folder,
                                        const std::filesystem::path& cache, const std::string& where);

}  // namespace tern::peer
