// Where an adapter's library is in what the user names: headers and shared libraries of one version, to compile the
// adapter against (build.h). What is looked for is the scheme's layouts, from the adapter's manifest.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/peer/adapter/manifest.h"

namespace tern::peer {

// Absolute paths; all empty for a scheme without layouts.
struct AdapterLibrary {
  std::string layout;                          // "bitnet.cpp tree"
  std::vector<std::filesystem::path> include;  // folders of the headers
  std::vector<std::string> header_stems;       // "llama": what of those folders belongs to the library
  std::vector<std::filesystem::path> link;     // the shared libraries
};

// Looks at `folder` for the first of the scheme's layouts whose marker is there. Headers in a git bundle are unpacked
// into `cache`, once per bundle. `where` names the option in errors. Errors: kIo, where there is no such folder;
// kInvalidInput, where it is of no layout, is not built, or has headers and libraries of two releases; kEngine, where
// git cannot unpack the bundle.
Result<AdapterLibrary> find_adapter_library(const AdapterScheme& scheme, const std::filesystem::path& folder,
                                            const std::filesystem::path& cache, const std::string& where);

}  // namespace tern::peer
