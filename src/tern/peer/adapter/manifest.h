// An adapter is a folder: the sources of a program that makes some library an engine of the engine contract, and a
// manifest.json that says which schemes it serves and how it is compiled against what. tern has no other knowledge of
// any adapter. docs/cross-validation.md, "An adapter of your own", has the format key by key.
//
// A manifest comes from outside: it is read with bounds, every path in it stays inside its folder, and unknown keys are
// errors. Its sources are compiled and run: only folders with trusted sources may be named.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/json.h"

namespace tern::peer {

// A file that must be in a folder of the user's library, and the folder that the compiler gets with -I.
struct LibraryHeader {
  std::filesystem::path folder;
  std::string file;
};

// "libllama": libllama.so, or libllama.<version>.so where there is no other.
struct SharedLibrary {
  std::string name;
  size_t column = 0;  // which folder of a place it lies in
  bool optional = false;
};

// Where a release is written down, to hold headers and libraries to one version.
struct ReleaseMark {
  std::filesystem::path file;
  std::string pointer;  // JSON pointer to a text
  std::string of;       // "libraries", "headers": for the message
};

// One form in which the library is found in what the user names. Paths are relative to the base.
struct LibraryLayout {
  std::string name;                                        // "llama.cpp tree"
  std::vector<std::filesystem::path> bases;                // relative to the user's folder; the first with `marker`
  std::filesystem::path marker;                            // there: it is this layout
  std::vector<LibraryHeader> headers;                      // all are needed
  std::filesystem::path bundle;                            // git bundle that the headers are unpacked from; empty: none
  std::vector<SharedLibrary> libraries;                    // to link
  std::vector<std::vector<std::filesystem::path>> places;  // folders for each column; '*' stands for any characters
  std::vector<ReleaseMark> one_release;                    // must all hold the same text
  std::string if_no_headers, if_no_libraries;              // hints; {dir} is the base
};

struct AdapterScheme {
  std::string name;                    // "llama.cpp"
  std::string argument;                // "DIR"; empty: the scheme takes nothing
  std::string about;                   // one line
  std::vector<std::string> options;    // words that the program always gets; {argument} is what stands behind the colon
  std::vector<LibraryLayout> layouts;  // tried in this order; empty: no library is looked for
  std::string if_none;                 // what is wrong with a folder of no layout
  // Markers of folders that belong to another scheme, and what to say of them.
  std::vector<std::pair<std::filesystem::path, std::string>> belongs_elsewhere;
};

struct AdapterManifest {
  std::filesystem::path folder;                // absolute, without links
  std::string program;                         // the executable's name; without sources, a file of the folder
  std::vector<std::filesystem::path> sources;  // .c, .cc, .cpp; relative; empty: `program` is run as it is
  std::vector<std::string> flags;              // of the compiler
  bool links_tern = false;                     // against tern's libraries, with src/ as an include folder
  std::vector<AdapterScheme> schemes;

  std::filesystem::path file() const { return folder / kFileName; }
  static constexpr const char* kFileName = "manifest.json";
};

// Errors: kIo where there is no such file; kInvalidInput, naming file and key: larger than 64 KiB, a wrong type, an
// unknown or missing key, too many entries, a path that leaves the folder, a source that is missing, a flag that could
// do more than compile, a scheme's name that could not stand before a colon, a format that is too new.
Result<AdapterManifest> read_adapter_manifest(const std::filesystem::path& folder);

struct AdapterManifests {
  std::vector<AdapterManifest> manifests;
  std::vector<Error> problems;
};
// Of every folder in `folder` that has one, by name. No such folder is a problem, too.
AdapterManifests read_adapter_manifests(const std::filesystem::path& folder);

}  // namespace tern::peer
