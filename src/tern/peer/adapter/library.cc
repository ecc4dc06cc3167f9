#include "tern/peer/adapter/library.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fnmatch.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "tern/base/child_process.h"
#include "tern/base/file.h"
#include "tern/base/hash.h"
#include "tern/base/json.h"

namespace tern::peer {
namespace fs = std::filesystem;
namespace {

constexpr double kGitTimeoutS = 60;
constexpr size_t kMostFoldersSearched = 256;

using Place = std::vector<fs::path>;  // a folder for each column

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}
bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}
bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

// "libllama.so", else the first "libllama.<version>.so", which is how npm's are named. Never libllama-common.so,
// libggml-cpu-haswell.so and the like: libggml loads its backends itself.
std::optional<fs::path> shared_library(const fs::path& folder, const std::string& name) {
  if (is_file(folder / (name + ".so"))) {
    return folder / (name + ".so");
  }
  std::optional<fs::path> first;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const fs::path& path = it->path();
    if (path.filename().string().starts_with(name + ".") && path.extension() == ".so" && (!first || path < *first)) {
      first = path;
    }
  }
  return first;
}

// The folders below `base` that a path with '*' in it stands for, sorted; a path without is itself.
std::vector<fs::path> expanded(const fs::path& base, const fs::path& pattern) {
  std::vector<fs::path> found = {fs::path()};
  for (const fs::path& part : pattern) {
    std::vector<fs::path> next;
    for (const fs::path& begin : found) {
      if (part.string().find('*') == std::string::npos) {
        next.push_back(begin / part);
        continue;
      }
      std::error_code error;
      for (fs::directory_iterator it(base / begin, error), end; !error && it != end; it.increment(error)) {
        const fs::path name = it->path().filename();
        if (::fnmatch(part.c_str(), name.c_str(), FNM_PERIOD) == 0 && is_folder(it->path()) &&
            next.size() < kMostFoldersSearched) {
          next.push_back(begin / name);
        }
      }
    }
    found = std::move(next);
  }
  std::sort(found.begin(), found.end());
  return found;
}

// A layout's places with their patterns expanded; a place of one folder in all columns stays one.
std::vector<Place> places_in(const LibraryLayout& layout, const fs::path& base) {
  std::vector<Place> places;
  for (const Place& place : layout.places) {
    const bool is_one = std::all_of(place.begin(), place.end(), [&](const fs::path& p) { return p == place.front(); });
    if (!is_one) {
      places.push_back(place);
      continue;
    }
    for (const fs::path& folder : expanded(base, place.front())) {
      places.emplace_back(place.size(), folder);
    }
  }
  return places;
}

// Empty where none of the places has all that is needed.
std::vector<fs::path> find_libraries(const LibraryLayout& layout, const fs::path& base,
                                     const std::vector<Place>& places) {
  for (const Place& place : places) {
    std::vector<fs::path> found;
    const bool has_all =
        std::all_of(layout.libraries.begin(), layout.libraries.end(), [&](const SharedLibrary& library) {
          const auto file = shared_library(base / place[library.column], library.name);
          if (file) found.push_back(*file);
          return file.has_value() || library.optional;
        });
    if (has_all) {
      return found;
    }
  }
  return {};
}

// With the folder in the place of {dir}.
std::string with_folder(std::string text, const fs::path& folder) {
  constexpr std::string_view kDir = "{dir}";
  for (size_t at = text.find(kDir); at != std::string::npos; at = text.find(kDir, at + folder.string().size())) {
    text.replace(at, kDir.size(), folder.string());
  }
  return text;
}

tl::unexpected<Error> no_libraries(const LibraryLayout& layout, const fs::path& base, const std::vector<Place>& places,
                                   const std::string& where) {
  std::vector<std::string> needed, looked_for;
  for (const SharedLibrary& library : layout.libraries) {
    if (!library.optional) {
      needed.push_back(library.name + ".so");
    }
  }
  for (const Place& place : places) {
    looked_for.push_back(place.front() == place.back() ? place.front().string()
                                                       : fmt::format("{} with {} in {}", place.front().string(),
                                                                     needed.back(), place.back().string()));
  }
  if (places.empty()) {
    looked_for.push_back(layout.places.front().front().string());
  }
  return invalid_input(where,
                       fmt::format("no {}: looked in {}", fmt::join(needed, " with its "), fmt::join(looked_for, ", ")),
                       with_folder(layout.if_no_libraries, base));
}

Status run_git(std::vector<std::string> arguments, const std::string& where) {
  ChildCommand git;
  git.argv = std::move(arguments);
  git.argv.insert(git.argv.begin(), "git");
  git.timeout_s = kGitTimeoutS;
  git.unset_environment = {"GIT_*"};  // the user's repository and settings are not meant
  git.environment = {{"GIT_CONFIG_NOSYSTEM", "1"}, {"GIT_CONFIG_GLOBAL", "/dev/null"}, {"GIT_TERMINAL_PROMPT", "0"}};
  const auto ended = run_child(git);
  const std::string hint = "the headers are unpacked by git, from the bundle that the library comes with";
  if (!ended) {
    return fail(ErrorCode::kEngine, where, "git " + ended.error().what, hint);
  }
  if (ended->exit_code != 0) {
    return fail(ErrorCode::kEngine, where, "git failed: " + printable(ended->output_tail, 300), hint);
  }
  return {};
}

// The source in the bundle, its headers only. Unpacked once per bundle.
Result<fs::path> unpacked_headers(const LibraryLayout& layout, const fs::path& bundle, const fs::path& cache,
                                  const std::string& where) {
  TERN_ASSIGN_OR_RETURN(const std::string sha256, sha256_of_file(bundle));
  const fs::path source = cache / "headers" / sha256.substr(0, 32);
  const auto is_whole = [&] {
    return std::all_of(layout.headers.begin(), layout.headers.end(),
                       [&](const LibraryHeader& header) { return is_file(source / header.folder / header.file); });
  };
  if (is_whole()) {
    return source;
  }
  TERN_RETURN_IF_ERROR(create_folder(source.parent_path()));
  const fs::path temporary = fmt::format("{}.tmp-{}", source.string(), ::getpid());
  std::error_code error;
  fs::remove_all(temporary, error);
  TERN_RETURN_IF_ERROR(run_git({"clone", "--quiet", "--no-checkout", bundle.string(), temporary.string()}, where));
  std::vector<std::string> checkout = {"-C", temporary.string(), "checkout", "--quiet", "HEAD", "--"};
  for (const LibraryHeader& header : layout.headers) {
    checkout.push_back(header.folder.string());
  }
  TERN_RETURN_IF_ERROR(run_git(std::move(checkout), where));
  fs::remove_all(temporary / ".git", error);
  fs::rename(temporary, source, error);
  if (error) {
    fs::remove_all(temporary, error);
    if (!is_whole()) {  // else another tern was faster
      return fail(ErrorCode::kIo, source.string(), "cannot be created");
    }
  }
  return source;
}

Result<std::string> text_at(const Json& json, const std::string& pointer, const fs::path& file) {
  const auto at = nlohmann::json_pointer<std::string>(pointer);
  if (!json.contains(at) || !json.at(at).is_string()) {
    return invalid_input(file.string(), "has no text at " + pointer);
  }
  return json.at(at).get<std::string>();
}

Status check_release(const LibraryLayout& layout, const fs::path& base, const std::string& where) {
  std::string release;
  for (const ReleaseMark& mark : layout.one_release) {
    const fs::path file = base / mark.file;
    if (!is_file(file)) {
      return invalid_input(where, fmt::format("no {}", file.string()), with_folder(layout.if_no_headers, base));
    }
    TERN_ASSIGN_OR_RETURN(const Json json, read_json_file(file, 1 << 20));
    TERN_ASSIGN_OR_RETURN(const std::string text, text_at(json, mark.pointer, file));
    if (&mark != &layout.one_release.front() && text != release) {
      return invalid_input(where,
                           fmt::format("the {} are of release {} and the {} of {}", layout.one_release.front().of,
                                       printable(release), mark.of, printable(text)),
                           with_folder(layout.if_no_libraries, base));
    }
    release = text;
  }
  return {};
}

// The folder that the headers' folders are relative to.
Result<fs::path> source_of_headers(const LibraryLayout& layout, const fs::path& base, const fs::path& cache,
                                   const std::string& where) {
  if (layout.bundle.empty()) {
    return base;
  }
  if (!is_file(base / layout.bundle)) {
    return invalid_input(where, fmt::format("no {}", (base / layout.bundle).string()),
                         with_folder(layout.if_no_headers, base));
  }
  return unpacked_headers(layout, base / layout.bundle, cache, where);
}

Result<AdapterLibrary> library_in(const LibraryLayout& layout, const fs::path& base, const fs::path& cache,
                                  const std::string& where) {
  AdapterLibrary library{.layout = layout.name, .include = {}, .header_stems = {}, .link = {}};
  const std::vector<Place> places = places_in(layout, base);
  library.link = find_libraries(layout, base, places);
  const bool lacks_libraries = library.link.empty() && !layout.libraries.empty();
  if (lacks_libraries && !layout.bundle.empty()) {  // nothing to unpack headers for
    return no_libraries(layout, base, places, where);
  }
  TERN_RETURN_IF_ERROR(check_release(layout, base, where));
  TERN_ASSIGN_OR_RETURN(const fs::path source, source_of_headers(layout, base, cache, where));
  for (const LibraryHeader& header : layout.headers) {
    const fs::path folder = source / header.folder;
    if (!is_file(folder / header.file)) {
      return invalid_input(where, fmt::format("no {}", (folder / header.file).string()),
                           with_folder(layout.if_no_headers, base));
    }
    if (std::find(library.include.begin(), library.include.end(), folder) == library.include.end()) {
      library.include.push_back(folder);
    }
    library.header_stems.push_back(fs::path(header.file).stem().string());
  }
  return lacks_libraries ? no_libraries(layout, base, places, where) : Result<AdapterLibrary>(std::move(library));
}

}  // namespace

Result<AdapterLibrary> find_adapter_library(const AdapterScheme& scheme, const fs::path& folder, const fs::path& cache,
                                            const std::string& where) {
  if (scheme.layouts.empty()) {
    return AdapterLibrary();
  }
  std::error_code error;
  const fs::path tree = fs::weakly_canonical(folder, error);
  if (error || !is_folder(tree)) {
    return fail(ErrorCode::kIo, where, "there is no such folder");
  }
  for (const LibraryLayout& layout : scheme.layouts) {
    for (const fs::path& relative : layout.bases) {
      const fs::path base = relative.empty() ? tree : tree / relative;
      if (is_there(base / layout.marker)) {
        return library_in(layout, base, cache, where);
      }
    }
  }
  std::string hint;
  for (const auto& [marker, say] : scheme.belongs_elsewhere) {
    if (hint.empty() && is_there(tree / marker)) {
      hint = say;
    }
  }
  return invalid_input(where, scheme.if_none.empty() ? "holds nothing that this adapter looks for" : scheme.if_none,
                       hint);
}

}  // namespace tern::peer
