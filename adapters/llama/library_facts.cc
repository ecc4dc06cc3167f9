#include "library_facts.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>
#include <vector>

#include "llama_api.h"
#include "tern/base/hash.h"

namespace tern::adapter {
namespace fs = std::filesystem;
namespace {

// A function that only some versions have; null where this one has not.
template <class Function>
Function* find_function(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

// The library's description of itself, from a function without arguments.
Json ask(const char* function) {
  auto* const answer = find_function<const char*()>(function);
  const char* const text = answer != nullptr ? answer() : nullptr;
  return text != nullptr ? Json(text) : Json();
}

constexpr const char* kLoadBest = "ggml_backend_load_all_from_path";
const std::string kCpuLibrary = "libggml-cpu-";

// Where backends are loaded from: `folder`, or libggml's own. Empty where the library loads no backends or has one
// linked in.
fs::path backends_folder(const std::string& folder) {
  auto* const load = find_function<void(const char*)>(kLoadBest);
  auto* const count = find_function<size_t()>("ggml_backend_reg_count");
  static const bool has_one = count != nullptr && count() > 0;  // before any was loaded
  if (load == nullptr || count == nullptr || (has_one && folder.empty())) return {};
  Dl_info info{};
  return folder.empty() && dladdr(reinterpret_cast<void*>(load), &info) != 0 ? fs::path(info.dli_fname).parent_path()
                                                                             : fs::path(folder);
}

int add_library(dl_phdr_info* info, size_t, void* paths) {
  const fs::path path = info->dlpi_name;
  const std::string name = path.filename().string();
  if (name.starts_with("libllama") || name.starts_with("libggml")) {
    static_cast<std::vector<fs::path>*>(paths)->push_back(path);
  }
  return 0;
}

// Those in use now, backends loaded at run time included.
std::vector<fs::path> loaded_libraries() {
  std::vector<fs::path> paths;
  dl_iterate_phdr(add_library, &paths);
  return paths;
}

// The value of the first line of /proc/cpuinfo that starts with `key`.
Json cpuinfo(std::string_view key) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (line.starts_with(key) && colon != std::string::npos && colon + 2 <= line.size()) return line.substr(colon + 2);
  }
  return {};
}

// Of the CPU's features those that change how matrices are multiplied.
Json vector_features() {
  Json features = Json::array();
  const Json flags = cpuinfo("flags");
  std::istringstream words(flags.is_string() ? flags.get<std::string>() : std::string());
  for (std::string word; words >> word;) {
    for (const std::string_view family : {"ssse3", "sse4", "avx", "fma", "f16c", "amx"}) {
      if (word.starts_with(family)) features.push_back(word);
    }
  }
  return features;
}

}  // namespace

Status load_backends(const std::string& folder, const std::string& variant) {
  auto* const load_best = find_function<void(const char*)>(kLoadBest);
  auto* const load_one = find_function<void*(const char*)>("ggml_backend_load");
  const fs::path place = backends_folder(folder);
  if (!variant.empty()) {
    const fs::path library = place / (kCpuLibrary + variant + ".so");
    if (load_one == nullptr || place.empty()) {
      return fail(ErrorCode::kUsage, "cpu_variant=" + printable(variant), "this library has one CPU backend only");
    }
    if (load_one(library.c_str()) == nullptr) {
      return fail(ErrorCode::kEngine, "cpu_variant=" + printable(variant),
                  "libggml does not load " + library.string() + ": this CPU cannot run it, or it is not there");
    }
  } else if (!place.empty()) {
    load_best(place.c_str());
  }
  return {};
}

std::vector<std::string> cpu_variants(const std::string& folder) {
  std::vector<std::string> variants;
  std::error_code error;
  for (fs::directory_iterator it(backends_folder(folder), error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().stem().string();
    if (name.starts_with(kCpuLibrary) && it->path().extension() == ".so") {
      variants.push_back(name.substr(kCpuLibrary.size()));
    }
  }
  std::sort(variants.begin(), variants.end());
  return variants;
}

Result<Json> library_facts() {
  Json libraries = Json::array();
  for (const fs::path& path : loaded_libraries()) {
    TERN_ASSIGN_OR_RETURN(std::string sha256, sha256_of_file(path));
    std::error_code ignored;
    libraries.push_back({{"path", fs::weakly_canonical(path, ignored).string()}, {"sha256", std::move(sha256)}});
  }
  const Json llama_version = ask("llama_version");
  return Json{
      {"api", api::generation()},
      {"libraries", std::move(libraries)},
      {"version", llama_version.is_null() ? ask("ggml_version") : llama_version},
      {"commit", ask("ggml_commit")},
      {"system_info", llama_print_system_info()},
      {"cpu", cpuinfo("model name")},
      {"cpu_flags", vector_features()},
      {"compiler", nullptr},  // a shared library does not state its compiler
  };
}

std::string engine_name(const std::string& name, const Json& facts) {
  std::string text = name.empty() ? "llama.cpp" : name;
  const Json& version = facts["version"];
  const Json& commit = facts["commit"];
  if (version.is_string()) text += " " + version.get<std::string>();
  if (commit.is_string()) text += " (commit " + commit.get<std::string>() + ")";
  if (!version.is_string() && !commit.is_string()) {
    text += std::string(" (libllama of ") + api::generation() + ")";
  }
  return text;
}

}  // namespace tern::adapter
