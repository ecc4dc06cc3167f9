#include "tern/peer/adapter/build.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <span>
#include <string_view>
#include <vector>

#include "tern/base/child_process.h"
#include "tern/base/environment.h"
#include "tern/base/file.h"
#include "tern/base/hash.h"

namespace tern::peer {
namespace fs = std::filesystem;
namespace {

constexpr double kCompileTimeoutS = 300;
constexpr uint64_t kMostResponseBytes = 1 << 20;

// The files named in a response file, which are its lines in quotes.
std::vector<fs::path> files_in(std::string_view response) {
  std::vector<fs::path> files;
  for (size_t begin = 0; begin < response.size();) {
    const size_t end = std::min(response.find('\n', begin), response.size());
    const std::string_view line = response.substr(begin, end - begin);
    if (line.size() > 2 && line.front() == '"' && line.back() == '"') {
      files.emplace_back(line.substr(1, line.size() - 2));
    }
    begin = end + 1;
  }
  return files;
}

// Every header of a folder whose name starts with one of `stems`; all of them where there are none. Sorted.
std::vector<fs::path> headers_in(const fs::path& folder, const std::vector<std::string>& stems) {
  std::vector<fs::path> headers;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    const bool wanted = stems.empty() || std::any_of(stems.begin(), stems.end(),
                                                     [&](const std::string& stem) { return name.starts_with(stem); });
    if (wanted && it->path().extension() == ".h") {
      headers.push_back(it->path());
    }
  }
  std::sort(headers.begin(), headers.end());
  return headers;
}

// The compiler's command line without its output file.
std::vector<std::string> compiler_call(const AdapterManifest& manifest, const AdapterLibrary& library,
                                       const AdapterRecipe& recipe) {
  std::vector<std::string> words = {recipe.compiler};
  if (manifest.links_tern) {
    words.push_back("@" + recipe.options.string());
  }
  words.insert(words.end(), manifest.flags.begin(), manifest.flags.end());
  for (const fs::path& folder : library.include) {
    words.insert(words.end(), {"-I", folder.string()});
  }
  for (const fs::path& source : manifest.sources) {
    const std::string file = (manifest.folder / source).string();
    source.extension() == ".c" ? words.insert(words.end(), {"-x", "c", file, "-x", "none"})
                               : words.insert(words.end(), file);
  }
  if (manifest.links_tern) {
    words.push_back("@" + recipe.libraries.string());
  }
  words.emplace_back("-Wl,--no-as-needed");  // a library finds those that it needs itself by the program's rpath only
  for (const fs::path& file : library.link) {
    words.push_back(file.string());
  }
  for (const fs::path& file : library.link) {
    const std::string rpath = "-Wl,-rpath," + file.parent_path().string();
    if (std::find(words.begin(), words.end(), rpath) == words.end()) {
      words.push_back(rpath);
    }
  }
  return words;
}

// What the program depends on: the call, and a line with path and hash for each file.
Result<std::string> describe_inputs(const AdapterManifest& manifest, const AdapterLibrary& library,
                                    const AdapterRecipe& recipe) {
  std::string lines = fmt::format("{}\n", fmt::join(compiler_call(manifest, library, recipe), " "));
  std::vector<fs::path> files = headers_in(manifest.folder, {});
  for (const fs::path& source : manifest.sources) {
    files.push_back(manifest.folder / source);
  }
  for (const fs::path& folder : library.include) {
    const std::vector<fs::path> headers = headers_in(folder, library.header_stems);
    files.insert(files.end(), headers.begin(), headers.end());
  }
  files.insert(files.end(), library.link.begin(), library.link.end());
  for (const fs::path& response : {recipe.options, recipe.libraries}) {
    if (!manifest.links_tern) {
      continue;
    }
    const auto text = read_file(response, kMostResponseBytes);
    if (!text) {
      return fail(ErrorCode::kEngine, response.string(), "is missing: it says how adapters are compiled",
                  "tern needs the folder that it was built in; build it again with scripts/build.sh");
    }
    lines += *text;
    const std::vector<fs::path> named = files_in(*text);
    files.insert(files.end(), named.begin(), named.end());
  }
  for (const fs::path& file : files) {
    TERN_ASSIGN_OR_RETURN(const std::string sha256, sha256_of_file(file));
    lines += fmt::format("{}  {}\n", sha256, file.string());
  }
  return lines;
}

// The compiler's first error says more than its last line.
std::string first_error(const std::string& output) {
  for (const std::string_view mark : {" error: ", "undefined reference", "cannot find "}) {
    if (const size_t at = output.find(mark); at != std::string::npos) {
      const size_t begin = output.rfind('\n', at) == std::string::npos ? 0 : output.rfind('\n', at) + 1;
      return printable(output.substr(begin, output.find('\n', at) - begin), 400);
    }
  }
  return printable(output.substr(0, output.find('\n')), 400);
}

std::string place_of(const AdapterManifest& manifest, const AdapterLibrary& library) {
  return fmt::format("the adapter for {}",
                     library.link.empty() ? manifest.folder.string() : library.link.front().string());
}

Status compile(std::vector<std::string> call, const fs::path& program, const std::string& where,
               const Interrupt* interrupt) {
  const fs::path temporary = fmt::format("{}.tmp-{}", program.string(), ::getpid());
  const fs::path log = program.parent_path() / "build.log";
  ChildCommand compiler;
  compiler.argv = std::move(call);
  compiler.argv.insert(compiler.argv.end(), {"-o", temporary.string()});
  compiler.output_path = log;
  compiler.timeout_s = kCompileTimeoutS;
  compiler.interrupt = interrupt;
  const std::string& name = compiler.argv.front();
  const auto ended = run_child(compiler);
  std::error_code error;
  if (!ended) {
    return fail(ErrorCode::kEngine, where, fmt::format("{} {}", name, ended.error().what),
                "a C++20 compiler is needed: apt-get install g++, or set CXX");
  }
  if (ended->exit_code != 0) {
    fs::remove(temporary, error);
    if (ended->interrupted) {
      return fail(ErrorCode::kEngine, where, fmt::format("{} was interrupted", name));
    }
    const auto output = read_file(log, compiler.max_output_bytes + 4096);
    return fail(ErrorCode::kEngine, where,
                ended->timed_out ? fmt::format("{} took longer than {} s", name, kCompileTimeoutS)
                                 : fmt::format("cannot be built: {}", output ? first_error(*output) : "no output"),
                fmt::format("all of it is in {}; headers and libraries must be of one version", log.string()));
  }
  fs::rename(temporary, program, error);
  return error ? io_error(program, "cannot be written", error) : Status();
}

// "a:b" without its empty parts.
std::vector<fs::path> folders_of(std::string_view path) {
  std::vector<fs::path> folders;
  while (!path.empty()) {
    const size_t end = std::min(path.find(':'), path.size());
    if (end > 0) {
      folders.emplace_back(path.substr(0, end));
    }
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return folders;
}

}  // namespace

AdapterRecipe AdapterRecipe::of_this_build() {
  AdapterRecipe recipe{{TERN_ADAPTERS_DIR}, TERN_ADAPTER_OPTIONS, TERN_ADAPTER_LIBRARIES, TERN_ADAPTER_COMPILER, {}};
  if (const char* const more = environment_variable("TERN_ADAPTER_PATH"); more != nullptr) {
    const std::vector<fs::path> folders = folders_of(more);
    recipe.folders.insert(recipe.folders.end(), folders.begin(), folders.end());
  }
  if (!find_program(recipe.compiler)) {
    const char* const cxx = environment_variable("CXX");
    recipe.compiler = cxx != nullptr ? cxx : "c++";
  }
  const char* const cache = environment_variable("XDG_CACHE_HOME");
  const char* const home = environment_variable("HOME");
  recipe.cache = cache != nullptr  ? fs::path(cache) / "tern"
                 : home != nullptr ? fs::path(home) / ".cache" / "tern"
                                   : fs::path(fmt::format("/tmp/tern-{}", ::geteuid()));
  return recipe;
}

Result<fs::path> build_adapter(const AdapterManifest& manifest, const AdapterLibrary& library,
                               const AdapterRecipe& recipe, const std::function<void()>& on_build,
                               const Interrupt* interrupt) {
  const std::string where = place_of(manifest, library);
  if (manifest.sources.empty()) {
    const fs::path program = manifest.folder / manifest.program;
    return ::access(program.c_str(), X_OK) == 0
               ? Result<fs::path>(program)
               : fail(ErrorCode::kEngine, where, fmt::format("{} may not be executed", program.string()));
  }
  TERN_RETURN_IF_ERROR(create_private_folder(recipe.cache));  // what is in there will be executed
  TERN_ASSIGN_OR_RETURN(const std::string inputs, describe_inputs(manifest, library, recipe));
  const std::string key = blake3_hex(std::as_bytes(std::span(inputs)));
  const fs::path program = recipe.cache / "adapters" / key / manifest.program;
  if (::access(program.c_str(), X_OK) == 0) {
    return program;
  }
  if (!find_program(recipe.compiler)) {
    return fail(ErrorCode::kEngine, where, fmt::format("no C++ compiler: looked for {}", recipe.compiler),
                "apt-get install g++, or set CXX to a C++20 compiler");
  }
  TERN_RETURN_IF_ERROR(create_folder(program.parent_path()));
  TERN_RETURN_IF_ERROR(write_file(program.parent_path() / "built-from.txt", inputs));
  if (on_build) {
    on_build();
  }
  TERN_RETURN_IF_ERROR(compile(compiler_call(manifest, library, recipe), program, where, interrupt));
  return program;
}

}  // namespace tern::peer
