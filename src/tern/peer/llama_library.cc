#include "tern/peer/llama_library.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "tern/base/child_process.h"
#include "tern/base/file.h"
#include "tern/base/hash.h"
#include "tern/base/json.h"

namespace tern::peer {
namespace fs = std::filesystem;
namespace {

#ifdef __aarch64__
constexpr const char* kNpmPlatform = "linux-arm64";
#else
constexpr const char* kNpmPlatform = "linux-x64";
#endif
constexpr double kGitTimeoutS = 60;

// Folders relative to the tree: where libllama may be, and libggml with it.
using Places = std::vector<std::pair<fs::path, fs::path>>;

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}
bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
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

// Empty where none of the places has both.
std::vector<fs::path> find_libraries(const fs::path& tree, const Places& places) {
  for (const auto& [llama_folder, ggml_folder] : places) {
    const auto llama = shared_library(tree / llama_folder, "libllama");
    const auto ggml = shared_library(tree / ggml_folder, "libggml");
    if (llama && ggml) {
      std::vector<fs::path> found = {*llama, *ggml};
      if (const auto base = shared_library(tree / ggml_folder, "libggml-base")) {
        found.push_back(*base);
      }
      return found;
    }
  }
  return {};
}

tl::unexpected<Error> no_libraries(const std::string& where, const Places& places, const std::string& hint) {
  std::vector<std::string> looked_for;
  for (const auto& [llama_folder, ggml_folder] : places) {
    looked_for.push_back(llama_folder == ggml_folder
                             ? llama_folder.string()
                             : fmt::format("{} with libggml.so in {}", llama_folder.string(), ggml_folder.string()));
  }
  return invalid_input(
      where, fmt::format("no libllama.so with its libggml.so: looked in {}", fmt::join(looked_for, ", ")), hint);
}

Result<LlamaLibrary> source_tree(const std::string& layout, const fs::path& tree, const fs::path& llama_cpp,
                                 const Places& places, const std::string& where) {
  LlamaLibrary library{layout, {tree / llama_cpp / "include", tree / llama_cpp / "ggml/include"}, {}};
  const std::pair<fs::path, const char*> headers[] = {{library.include[0], "llama.h"}, {library.include[1], "ggml.h"}};
  for (const auto& [folder, header] : headers) {
    if (!is_file(folder / header)) {
      return invalid_input(where, fmt::format("no {}", (folder / header).string()),
                           "fetch the submodules: git submodule update --init --recursive");
    }
  }
  library.link = find_libraries(tree, places);
  if (library.link.empty()) {
    return no_libraries(where, places,
                        fmt::format("build it, with shared libraries: cmake -S {0} -B {0}/build -DBUILD_SHARED_LIBS=ON "
                                    "&& cmake --build {0}/build",
                                    tree.string()));
  }
  return library;
}

Result<LlamaLibrary> bitnet_cpp_tree(const fs::path& tree, const std::string& where) {
  if (!is_folder(tree / "3rdparty/llama.cpp")) {
    return invalid_input(where, "is no bitnet.cpp tree: it has no 3rdparty/llama.cpp",
                         "clone it with --recursive; for llama.cpp itself write llama.cpp:DIR");
  }
  const Places places = {{"build/3rdparty/llama.cpp/src", "build/3rdparty/llama.cpp/ggml/src"},
                         {"build/bin", "build/bin"},
                         {"build/lib", "build/lib"},
                         {"build/src", "build/ggml/src"}};
  return source_tree("bitnet.cpp tree", tree, "3rdparty/llama.cpp", places, where);
}

Result<LlamaLibrary> installed_prefix(const fs::path& prefix, const std::string& where) {
  std::vector<fs::path> folders;
  std::error_code error;
  for (fs::directory_iterator it(prefix, error), end; !error && it != end; it.increment(error)) {
    if (!it->path().filename().string().starts_with("lib") || !is_folder(it->path())) {
      continue;
    }
    folders.push_back(it->path().filename());
    for (fs::directory_iterator inner(it->path(), error); !error && inner != end; inner.increment(error)) {
      if (inner->path().filename().string().ends_with("-linux-gnu")) {
        folders.push_back(it->path().filename() / inner->path().filename());
      }
    }
    error.clear();
  }
  std::sort(folders.begin(), folders.end());
  Places places;
  for (const fs::path& folder : folders) {
    places.emplace_back(folder, folder);
  }
  LlamaLibrary library{"installed prefix", {prefix / "include"}, find_libraries(prefix, places)};
  if (!is_file(prefix / "include/ggml.h")) {
    return invalid_input(where, fmt::format("has include/llama.h, but no {}", (prefix / "include/ggml.h").string()),
                         "install libggml's headers with libllama's");
  }
  if (library.link.empty()) {
    return no_libraries(where, places.empty() ? Places{{"lib", "lib"}} : places, "install the shared libraries");
  }
  return library;
}

Status run_git(std::vector<std::string> arguments, const std::string& where) {
  ChildCommand git;
  git.argv = std::move(arguments);
  git.argv.insert(git.argv.begin(), "git");
  git.timeout_s = kGitTimeoutS;
  git.unset_environment = {"GIT_*"};  // the user's repository and settings are not meant
  git.environment = {{"GIT_CONFIG_NOSYSTEM", "1"}, {"GIT_CONFIG_GLOBAL", "/dev/null"}, {"GIT_TERMINAL_PROMPT", "0"}};
  const auto ended = run_child(git);
  const std::string hint = "needs git, and the bundle that node-llama-cpp comes with";
  if (!ended) {
    return fail(ErrorCode::kEngine, where, "git " + ended.error().what, hint);
  }
  if (ended->exit_code != 0) {
    return fail(ErrorCode::kEngine, where, "git failed: " + printable(ended->output_tail, 300), hint);
  }
  return {};
}

// The source in the bundle, its headers only. Unpacked once per bundle.
Result<fs::path> unpacked_headers(const fs::path& bundle, const fs::path& cache, const std::string& where) {
  TERN_ASSIGN_OR_RETURN(const std::string sha256, sha256_of_file(bundle));
  const fs::path source = cache / "headers" / sha256.substr(0, 32);
  if (is_file(source / "include/llama.h")) {
    return source;
  }
  TERN_RETURN_IF_ERROR(create_folder(source.parent_path()));
  const fs::path temporary = fmt::format("{}.tmp-{}", source.string(), ::getpid());
  std::error_code error;
  fs::remove_all(temporary, error);
  TERN_RETURN_IF_ERROR(run_git({"clone", "--quiet", "--no-checkout", bundle.string(), temporary.string()}, where));
  TERN_RETURN_IF_ERROR(
      run_git({"-C", temporary.string(), "checkout", "--quiet", "HEAD", "--", "include", "ggml/include"}, where));
  fs::remove_all(temporary / ".git", error);
  fs::rename(temporary, source, error);
  if (error) {
    fs::remove_all(temporary, error);
    if (!is_file(source / "include/llama.h")) {  // else another tern was faster
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

Result<LlamaLibrary> npm_package(const fs::path& modules, const fs::path& cache, const std::string& where) {
  const fs::path source = modules / "node-llama-cpp/llama";
  const fs::path package = fs::path("@node-llama-cpp") / kNpmPlatform;
  const fs::path binaries = package / "bins" / kNpmPlatform;
  LlamaLibrary library{"npm package", {}, find_libraries(modules, {{binaries, binaries}})};
  const std::string install = fmt::format("npm install node-llama-cpp {}", package.string());
  if (library.link.empty()) {
    return no_libraries(where, {{binaries, binaries}}, install);
  }
  for (const char* file : {"gitRelease.bundle", "llama.cpp.info.json"}) {
    if (!is_file(source / file)) {
      return invalid_input(where, fmt::format("no {}", (source / file).string()), install);
    }
  }
  const fs::path of_libraries = modules / binaries / "_nlcBuildMetadata.json";
  const fs::path of_source = source / "llama.cpp.info.json";
  TERN_ASSIGN_OR_RETURN(const Json built, read_json_file(of_libraries, 1 << 20));
  TERN_ASSIGN_OR_RETURN(const Json bundled, read_json_file(of_source, 1 << 20));
  TERN_ASSIGN_OR_RETURN(const std::string release, text_at(built, "/buildOptions/llamaCpp/release", of_libraries));
  TERN_ASSIGN_OR_RETURN(const std::string tag, text_at(bundled, "/tag", of_source));
  if (release != tag) {
    return invalid_input(
        where, fmt::format("the libraries are of release {} and the headers of {}", printable(release), printable(tag)),
        "install node-llama-cpp and its binaries in one version: " + install);
  }
  TERN_ASSIGN_OR_RETURN(const fs::path headers, unpacked_headers(source / "gitRelease.bundle", cache, where));
  library.include = {headers / "include", headers / "ggml/include"};
  return library;
}

Result<LlamaLibrary> any_llama_cpp(const fs::path& folder, const fs::path& cache, const std::string& where) {
  for (const fs::path& modules : {folder, folder / "node_modules"}) {
    if (is_folder(modules / "node-llama-cpp/llama")) {
      return npm_package(modules, cache, where);
    }
  }
  if (is_folder(folder / "ggml/include")) {
    return source_tree("llama.cpp tree", folder, "",
                       {{"build/bin", "build/bin"}, {"build/lib", "build/lib"}, {"build/src", "build/ggml/src"}},
                       where);
  }
  if (is_file(folder / "include/llama.h")) {
    return installed_prefix(folder, where);
  }
  const bool is_bitnet_cpp = is_folder(folder / "3rdparty/llama.cpp");
  return invalid_input(where,
                       "holds no llama.cpp: neither a source tree (ggml/include), nor an installation "
                       "(include/llama.h), nor npm's node-llama-cpp",
                       is_bitnet_cpp ? "it is a bitnet.cpp tree: write bitnet.cpp:DIR" : "");
}

}  // namespace

Result<LlamaLibrary> find_llama_library(EngineKind kind, const fs::path& folder, const fs::path& cache,
                                        const std::string& where) {
  std::error_code error;
  const fs::path tree = fs::weakly_canonical(folder, error);
  if (error || !is_folder(tree)) {
    return fail(ErrorCode::kIo, where, "there is no such folder");
  }
  return kind == EngineKind::kBitnetCpp ? bitnet_cpp_tree(tree, where) : any_llama_cpp(tree, cache, where);
}

}  // namespace tern::peer
