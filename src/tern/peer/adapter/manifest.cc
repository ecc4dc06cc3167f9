#include "tern/peer/adapter/manifest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <initializer_list>

#include "tern/base/file.h"
#include "tern/base/json_format.h"
#include "tern/base/nearest_word.h"

namespace tern::peer {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMostBytes = 64 << 10;
constexpr size_t kMostEntries = 256, kLongestText = 1000, kLongestName = 32, kMostFolders = 256;

#ifdef __aarch64__
constexpr std::string_view kNpmPlatform = "linux-arm64";
#else
constexpr std::string_view kNpmPlatform = "linux-x64";
#endif

// One object of a manifest, read key by key; `place` names it in errors ("…/manifest.json: schemes/0").
class Object {
 public:
  static Result<Object> open(const Json& json, std::string place, std::initializer_list<std::string_view> keys) {
    if (!json.is_object()) {
      return invalid_input(place, "is no object");
    }
    const std::vector<std::string> known(keys.begin(), keys.end());
    for (const auto& [key, value] : json.items()) {
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        const auto near = nearest_word(key, known);
        return invalid_input(
            place, fmt::format("has an unknown key \"{}\"", printable(key)),
            near ? fmt::format("did you mean \"{}\"?", *near) : fmt::format("known are {}", fmt::join(known, ", ")));
      }
    }
    return Object(json, std::move(place));
  }

  const std::string& place() const { return place_; }
  std::string at(const char* key) const { return fmt::format("{}/{}", place_, key); }

  // Empty where the key is absent and not needed.
  Result<std::string> text(const char* key, bool is_needed = false) const {
    if (!json_.contains(key) && !is_needed) {
      return std::string();
    }
    TERN_ASSIGN_OR_RETURN(std::string text, json_string(json_, key, place_));
    if (text.size() > kLongestText || text != printable(text, kLongestText)) {
      return invalid_input(at(key), fmt::format("is no line of at most {} bytes", kLongestText));
    }
    for (size_t mark = text.find("{platform}"); mark != std::string::npos; mark = text.find("{platform}")) {
      text.replace(mark, std::string_view("{platform}").size(), kNpmPlatform);
    }
    return text;
  }

  // A name that may be a file's, without any folder.
  Result<std::string> name(const char* key) const {
    TERN_ASSIGN_OR_RETURN(std::string name, text(key, true));
    if (name.empty() || name.front() == '.' || name.find('/') != std::string::npos) {
      return invalid_input(at(key), fmt::format("'{}' is no name of a file", printable(name)));
    }
    return name;
  }

  Result<bool> flag(const char* key) const {
    if (!json_.contains(key)) {
      return false;
    }
    return json_.at(key).is_boolean() ? Result<bool>(json_.at(key).get<bool>())
                                      : invalid_input(at(key), "is neither true nor false");
  }

  // Relative, and inside of its folder; empty where the key is absent and not needed.
  Result<fs::path> path(const char* key, bool is_needed = false) const {
    TERN_ASSIGN_OR_RETURN(const std::string text, this->text(key, is_needed));
    return inside(text, at(key));
  }

  static Result<fs::path> inside(const std::string& text, const std::string& place) {
    const fs::path path = text;
    if (path.is_absolute() || std::find(path.begin(), path.end(), "..") != path.end()) {
      return invalid_input(place, fmt::format("'{}' leads out of its folder", printable(text)));
    }
    return path;
  }

  // Calls `take` with each entry of a list and its place; nothing where the key is absent.
  template <class Take>
  Status each(const char* key, const Take& take) const {
    if (!json_.contains(key)) {
      return {};
    }
    const Json& list = json_.at(key);
    if (!list.is_array() || list.size() > kMostEntries) {
      return invalid_input(at(key), fmt::format("is no list of at most {} entries", kMostEntries));
    }
    for (size_t i = 0; i < list.size(); ++i) {
      TERN_RETURN_IF_ERROR(take(list[i], fmt::format("{}/{}", at(key), i)));
    }
    return {};
  }

  Result<std::vector<std::string>> texts(const char* key) const {
    std::vector<std::string> all;
    TERN_RETURN_IF_ERROR(each(key, [&](const Json& entry, const std::string& place) -> Status {
      TERN_ASSIGN_OR_RETURN(const Object object, open({{"text", entry}}, place, {"text"}));
      TERN_ASSIGN_OR_RETURN(std::string text, object.text("text", true));
      all.push_back(std::move(text));
      return {};
    }));
    return all;
  }

  Result<int64_t> number(const char* key, int64_t low, int64_t high, int64_t otherwise) const {
    return json_.contains(key) ? json_integer(json_, key, place_, low, high) : Result<int64_t>(otherwise);
  }

 private:
  Object(const Json& json, std::string place) : json_(json), place_(std::move(place)) {}
  Json json_;
  std::string place_;
};

Result<std::vector<fs::path>> paths(const Object& object, const char* key) {
  TERN_ASSIGN_OR_RETURN(const std::vector<std::string> texts, object.texts(key));
  std::vector<fs::path> all;
  for (const std::string& text : texts) {
    TERN_ASSIGN_OR_RETURN(fs::path path, Object::inside(text, object.at(key)));
    all.push_back(std::move(path));
  }
  return all;
}

// What a manifest may say to a compiler: how to compile, and not where to write or what to run.
Status check_flag(const std::string& flag, const std::string& place) {
  constexpr std::string_view kAllowed[] = {"-std=", "-O", "-D", "-U", "-W", "-f", "-m", "-l", "-g", "-pthread"};
  const bool allowed = std::any_of(std::begin(kAllowed), std::end(kAllowed),
                                   [&](std::string_view start) { return flag.starts_with(start); });
  if (!allowed || flag.starts_with("-fplugin") || flag.find('/') != std::string::npos) {
    return invalid_input(place, fmt::format("'{}' is no flag that a manifest may give", printable(flag)),
                         fmt::format("it may give {}...", fmt::join(kAllowed, "..., ")));
  }
  return {};
}

Status read_headers(const Object& object, LibraryLayout& layout) {
  return object.each("headers", [&](const Json& entry, const std::string& place) -> Status {
    TERN_ASSIGN_OR_RETURN(const Object header, Object::open(entry, place, {"folder", "file"}));
    LibraryHeader& out = layout.headers.emplace_back();
    TERN_ASSIGN_OR_RETURN(out.folder, header.path("folder", true));
    TERN_ASSIGN_OR_RETURN(out.file, header.name("file"));
    return {};
  });
}

Status read_libraries(const Object& object, LibraryLayout& layout) {
  size_t n_columns = 1;
  TERN_RETURN_IF_ERROR(object.each("libraries", [&](const Json& entry, const std::string& place) -> Status {
    TERN_ASSIGN_OR_RETURN(const Object library, Object::open(entry, place, {"name", "column", "optional"}));
    SharedLibrary& out = layout.libraries.emplace_back();
    TERN_ASSIGN_OR_RETURN(out.name, library.name("name"));
    TERN_ASSIGN_OR_RETURN(out.optional, library.flag("optional"));
    TERN_ASSIGN_OR_RETURN(const int64_t column, library.number("column", 0, 8, 0));
    out.column = static_cast<size_t>(column);
    n_columns = std::max(n_columns, out.column + 1);
    return {};
  }));
  return object.each("places", [&](const Json& entry, const std::string& place) -> Status {
    TERN_ASSIGN_OR_RETURN(const Object folders, Object::open({{"folders", entry}}, place, {"folders"}));
    TERN_ASSIGN_OR_RETURN(std::vector<fs::path> all, paths(folders, "folders"));
    if (all.size() == 1) {
      all.resize(n_columns, all.front());
    }
    if (all.size() != n_columns) {
      return invalid_input(place, fmt::format("is no list of 1 or {} folders", n_columns));
    }
    layout.places.push_back(std::move(all));
    return {};
  });
}

Status read_marks(const Object& object, LibraryLayout& layout) {
  return object.each("one_release", [&](const Json& entry, const std::string& place) -> Status {
    TERN_ASSIGN_OR_RETURN(const Object mark, Object::open(entry, place, {"of", "file", "pointer"}));
    ReleaseMark& out = layout.one_release.emplace_back();
    TERN_ASSIGN_OR_RETURN(out.of, mark.text("of", true));
    TERN_ASSIGN_OR_RETURN(out.file, mark.path("file", true));
    TERN_ASSIGN_OR_RETURN(out.pointer, mark.text("pointer", true));
    return out.pointer.starts_with('/') && out.pointer.find('~') == std::string::npos
               ? Status()
               : invalid_input(mark.at("pointer"), "is no path of keys: \"/a/b\"");
  });
}

Result<LibraryLayout> read_layout(const Json& json, const std::string& place) {
  TERN_ASSIGN_OR_RETURN(const Object object,
                        Object::open(json, place,
                                     {"name", "bases", "marker", "headers", "bundle", "libraries", "places",
                                      "one_release", "if_no_headers", "if_no_libraries"}));
  LibraryLayout layout;
  TERN_ASSIGN_OR_RETURN(layout.name, object.text("name", true));
  TERN_ASSIGN_OR_RETURN(layout.bases, paths(object, "bases"));
  if (layout.bases.empty()) {
    layout.bases.emplace_back();
  }
  TERN_ASSIGN_OR_RETURN(layout.marker, object.path("marker", true));
  TERN_ASSIGN_OR_RETURN(layout.bundle, object.path("bundle"));
  TERN_RETURN_IF_ERROR(read_headers(object, layout));
  TERN_RETURN_IF_ERROR(read_libraries(object, layout));
  TERN_RETURN_IF_ERROR(read_marks(object, layout));
  TERN_ASSIGN_OR_RETURN(layout.if_no_headers, object.text("if_no_headers"));
  TERN_ASSIGN_OR_RETURN(layout.if_no_libraries, object.text("if_no_libraries"));
  if (layout.libraries.empty() != layout.places.empty()) {
    return invalid_input(place, "has only one of libraries and places: one says what to look for, the other where");
  }
  return layout;
}

Result<AdapterScheme> read_scheme(const Json& json, const std::string& place) {
  TERN_ASSIGN_OR_RETURN(
      const Object object,
      Object::open(json, place, {"name", "argument", "about", "options", "layouts", "if_none", "belongs_elsewhere"}));
  AdapterScheme scheme;
  TERN_ASSIGN_OR_RETURN(scheme.name, object.text("name", true));
  constexpr std::string_view kCharacters = "abcdefghijklmnopqrstuvwxyz0123456789._-";
  if (scheme.name.empty() || scheme.name.size() > kLongestName ||
      scheme.name.find_first_not_of(kCharacters) != std::string::npos) {
    return invalid_input(object.at("name"), fmt::format("'{}' is no scheme: up to {} of a-z 0-9 . _ -",
                                                        printable(scheme.name), kLongestName));
  }
  TERN_ASSIGN_OR_RETURN(scheme.argument, object.text("argument"));
  TERN_ASSIGN_OR_RETURN(scheme.about, object.text("about", true));
  TERN_ASSIGN_OR_RETURN(scheme.options, object.texts("options"));
  TERN_ASSIGN_OR_RETURN(scheme.if_none, object.text("if_none"));
  TERN_RETURN_IF_ERROR(object.each("layouts", [&](const Json& entry, const std::string& at) -> Status {
    TERN_ASSIGN_OR_RETURN(LibraryLayout layout, read_layout(entry, at));
    scheme.layouts.push_back(std::move(layout));
    return {};
  }));
  if (!scheme.layouts.empty() && scheme.argument.empty()) {
    return invalid_input(place, "has layouts, but no argument that would name a folder");
  }
  TERN_RETURN_IF_ERROR(object.each("belongs_elsewhere", [&](const Json& entry, const std::string& at) -> Status {
    TERN_ASSIGN_OR_RETURN(const Object other, Object::open(entry, at, {"marker", "say"}));
    TERN_ASSIGN_OR_RETURN(fs::path marker, other.path("marker", true));
    TERN_ASSIGN_OR_RETURN(std::string say, other.text("say", true));
    scheme.belongs_elsewhere.emplace_back(std::move(marker), std::move(say));
    return {};
  }));
  return scheme;
}

// A file of the adapter's folder, links followed: what is compiled and run must lie in it.
Status check_file(const fs::path& folder, const fs::path& file, const std::string& place) {
  std::error_code error;
  const fs::path real = fs::canonical(folder / file, error);
  if (error || !fs::is_regular_file(real, error)) {
    return invalid_input(place, fmt::format("there is no file {}", printable((folder / file).string(), 1000)));
  }
  const fs::path relative = real.lexically_relative(folder);
  return !relative.empty() && *relative.begin() != ".."
             ? Status()
             : invalid_input(place, fmt::format("'{}' leads out of its folder", printable(file.string())));
}

Status read_sources(const Object& object, AdapterManifest& manifest) {
  TERN_ASSIGN_OR_RETURN(manifest.sources, paths(object, "sources"));
  for (const fs::path& source : manifest.sources) {
    TERN_RETURN_IF_ERROR(check_file(manifest.folder, source, object.at("sources")));
    const std::string extension = source.extension().string();
    if (extension != ".c" && extension != ".cc" && extension != ".cpp") {
      return invalid_input(object.at("sources"),
                           fmt::format("'{}' ends in none of .c, .cc, .cpp", printable(source.string())));
    }
  }
  return manifest.sources.empty() ? check_file(manifest.folder, manifest.program, object.at("program")) : Status();
}

}  // namespace

Result<AdapterManifest> read_adapter_manifest(const fs::path& folder) {
  AdapterManifest manifest;
  std::error_code error;
  manifest.folder = fs::canonical(folder, error);
  if (error) {
    return io_error(folder, "cannot be opened", error);
  }
  const std::string file = manifest.file().string();
  TERN_ASSIGN_OR_RETURN(const std::string text, read_file(file, kMostBytes));
  TERN_ASSIGN_OR_RETURN(const Json json, parse_json(text, file));
  TERN_ASSIGN_OR_RETURN(const Object object,
                        Object::open(json, file, {"format", "program", "sources", "flags", "links_tern", "schemes"}));
  TERN_RETURN_IF_ERROR(read_format(Document::kManifest, json, file));
  TERN_ASSIGN_OR_RETURN(manifest.program, object.name("program"));
  TERN_RETURN_IF_ERROR(read_sources(object, manifest));
  TERN_ASSIGN_OR_RETURN(manifest.flags, object.texts("flags"));
  for (const std::string& flag : manifest.flags) {
    TERN_RETURN_IF_ERROR(check_flag(flag, object.at("flags")));
  }
  TERN_ASSIGN_OR_RETURN(manifest.links_tern, object.flag("links_tern"));
  TERN_RETURN_IF_ERROR(object.each("schemes", [&](const Json& entry, const std::string& place) -> Status {
    TERN_ASSIGN_OR_RETURN(AdapterScheme scheme, read_scheme(entry, place));
    manifest.schemes.push_back(std::move(scheme));
    return {};
  }));
  if (manifest.schemes.empty()) {
    return invalid_input(file, "has no schemes");
  }
  return manifest;
}

AdapterManifests read_adapter_manifests(const fs::path& folder) {
  AdapterManifests found;
  std::vector<fs::path> folders;
  std::error_code error;
  fs::directory_iterator it(folder, error);
  for (const fs::directory_iterator end; !error && it != end && folders.size() < kMostFolders; it.increment(error)) {
    std::error_code ignored;
    if (fs::exists(it->path() / AdapterManifest::kFileName, ignored)) {
      folders.push_back(it->path());
    }
  }
  if (error) {
    found.problems.push_back({ErrorCode::kIo, folder.string(), "cannot be listed: " + error.message(), ""});
  }
  std::sort(folders.begin(), folders.end());
  for (const fs::path& adapter : folders) {
    auto manifest = read_adapter_manifest(adapter);
    if (manifest) {
      found.manifests.push_back(std::move(*manifest));
    } else {
      found.problems.push_back(std::move(manifest).error());
    }
  }
  return found;
}

}  // namespace tern::peer
