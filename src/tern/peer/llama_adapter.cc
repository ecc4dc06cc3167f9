#include "tern/peer/llama_adapter.h"

#include <fmt/format.h>
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
constexpr double kFactsTimeoutS = 60;
constexpr const char* kProgram = "tern-llama-adapter";

// The files named in the response file, which are its lines in quotes: sources and libraries.
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

// Every header of a folder whose name starts with one of `prefixes`, sorted.
std::vector<fs::path> headers_in(const fs::path& folder, std::span<const std::string_view> prefixes) {
  std::vector<fs::path> headers;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    const bool wanted = std::any_of(prefixes.begin(), prefixes.end(),
                                    [&](std::string_view prefix) { return name.starts_with(prefix); });
    if (wanted && it->path().extension() == ".h") {
      headers.push_back(it->path());
    }
  }
  std::sort(headers.begin(), headers.end());
  return headers;
}

// What the program depends on, one line each: path and hash.
Result<std::string> describe_inputs(const LlamaLibrary& library, const AdapterRecipe& recipe,
                                    const std::string& response) {
  std::vector<fs::path> files = files_in(response);
  std::vector<fs::path> source_folders;
  for (const fs::path& file : files) {
    if (file.extension() == ".cc") {
      source_folders.push_back(file.parent_path());
    }
  }
  std::sort(source_folders.begin(), source_folders.end());
  source_folders.erase(std::unique(source_folders.begin(), source_folders.end()), source_folders.end());
  const auto add = [&](const fs::path& folder, std::initializer_list<std::string_view> prefixes) {
    const auto headers = headers_in(folder, std::span(prefixes.begin(), prefixes.size()));
    files.insert(files.end(), headers.begin(), headers.end());
  };
  for (const fs::path& folder : source_folders) {
    add(folder, {""});
  }
  for (const fs::path& folder : library.include) {
    add(folder, {"llama", "ggml", "gguf"});
  }
  files.insert(files.end(), library.link.begin(), library.link.end());
  std::string lines = fmt::format("compiler {}\n{}", recipe.compiler, response);
  for (const fs::path& file : files) {
    TERN_ASSIGN_OR_RETURN(const std::string sha256, sha256_of_file(file));
    lines += fmt::format("{}  {}\n", sha256, file.string());
  }
  return lines;
}

std::vector<std::string> compiler_call(const LlamaLibrary& library, const AdapterRecipe& recipe, const fs::path& out) {
  std::vector<std::string> words = {recipe.compiler, "@" + recipe.response_file.string()};
  for (const fs::path& folder : library.include) {
    words.insert(words.end(), {"-I", folder.string()});
  }
  words.emplace_back("-Wl,--no-as-needed");  // libllama finds libggml by the adapter's rpath only if that links it
  for (const fs::path& file : library.link) {
    words.push_back(file.string());
  }
  for (const fs::path& file : library.link) {
    const std::string rpath = "-Wl,-rpath," + file.parent_path().string();
    if (std::find(words.begin(), words.end(), rpath) == words.end()) {
      words.push_back(rpath);
    }
  }
  words.insert(words.end(), {"-o", out.string()});
  return words;
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

Status compile(const LlamaLibrary& library, const AdapterRecipe& recipe, const fs::path& program) {
  const fs::path temporary = fmt::format("{}.tmp-{}", program.string(), ::getpid());
  const fs::path log = program.parent_path() / "build.log";
  ChildCommand compiler;
  compiler.argv = compiler_call(library, recipe, temporary);
  compiler.output_path = log;
  compiler.timeout_s = kCompileTimeoutS;
  const auto ended = run_child(compiler);
  const std::string where = fmt::format("the adapter for {}", library.link.front().string());
  std::error_code error;
  if (!ended) {
    return fail(ErrorCode::kEngine, where, fmt::format("{} {}", recipe.compiler, ended.error().what),
                "a C++20 compiler is needed: apt-get install g++, or set CXX");
  }
  if (ended->exit_code != 0) {
    fs::remove(temporary, error);
    const auto output = read_file(log, compiler.max_output_bytes + 4096);
    return fail(ErrorCode::kEngine, where,
                ended->timed_out ? fmt::format("{} took longer than {} s", recipe.compiler, kCompileTimeoutS)
                                 : fmt::format("cannot be built: {}", output ? first_error(*output) : "no output"),
                fmt::format("all of it is in {}; headers and libraries must be of one version", log.string()));
  }
  fs::rename(temporary, program, error);
  return error ? fail(ErrorCode::kIo, program.string(), "cannot be written: " + error.message()) : Status();
}

}  // namespace

AdapterRecipe AdapterRecipe::of_this_build() {
  AdapterRecipe recipe{TERN_ADAPTER_RSP, TERN_ADAPTER_COMPILER, {}};
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

Result<fs::path> build_llama_adapter(const LlamaLibrary& library, const AdapterRecipe& recipe,
                                     const std::function<void()>& on_build) {
  const auto response = read_file(recipe.response_file, 1 << 20);
  if (!response) {
    return fail(ErrorCode::kEngine, recipe.response_file.string(), "is missing: it says how adapters are compiled",
                "tern needs the folder that it was built in; build it again with scripts/build.sh");
  }
  TERN_RETURN_IF_ERROR(create_private_folder(recipe.cache));  // what is in there will be executed
  TERN_ASSIGN_OR_RETURN(const std::string inputs, describe_inputs(library, recipe, *response));
  const std::string key = blake3_hex(std::as_bytes(std::span(inputs)));
  const fs::path program = recipe.cache / "adapters" / key / kProgram;
  if (::access(program.c_str(), X_OK) == 0) {
    return program;
  }
  if (!find_program(recipe.compiler)) {
    return fail(ErrorCode::kEngine, "the adapter for " + library.link.front().string(),
                fmt::format("no C++ compiler: looked for {}", recipe.compiler),
                "apt-get install g++, or set CXX to a C++20 compiler");
  }
  TERN_RETURN_IF_ERROR(create_folder(program.parent_path()));
  TERN_RETURN_IF_ERROR(write_file(program.parent_path() / "built-from.txt", inputs));
  if (on_build) {
    on_build();
  }
  TERN_RETURN_IF_ERROR(compile(library, recipe, program));
  return program;
}

Result<Json> llama_adapter_facts(const fs::path& program, const std::string& engine_name) {
  const fs::path facts = fmt::format("{}.facts-{}.json", program.string(), ::getpid());
  ChildCommand command;
  command.argv = {program.string(), "--facts", facts.string(), "--engine", engine_name};
  command.timeout_s = kFactsTimeoutS;
  TERN_ASSIGN_OR_RETURN(const ChildResult ended, run_child(command));
  if (ended.exit_code != 0) {
    return fail(ErrorCode::kEngine, program.string(),
                ended.timed_out ? "did not answer"
                : ended.signal  ? "was killed by " + signal_name(*ended.signal)
                                : "cannot run: " + printable(ended.output_tail, 400));
  }
  auto json = read_json_file(facts, 1 << 20);
  std::error_code error;
  fs::remove(facts, error);
  return json;
}

}  // namespace tern::peer
