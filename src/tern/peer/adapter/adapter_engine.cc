// The schemes of an adapter: finds its library, compiles its program, and runs that as an engine.
#include <fmt/format.h>

#include "tern/peer/adapter/build.h"
#include "tern/peer/adapter/library.h"
#include "tern/peer/adapter_facts.h"
#include "tern/peer/engine_schemes.h"

namespace tern::peer {
namespace fs = std::filesystem;
namespace {

// By ggml's line of what it was compiled for, which adapters of libraries on ggml state among their facts. It stands
// here and not in an adapter, since only tern has both this and what the user claims.
bool is_compiled_for_avx512(const Json& engine_facts) {
  const Json system = engine_facts.value("system_info", Json());
  return system.is_string() && system.get<std::string>().find("AVX512 = 1") != std::string::npos;
}

// "bitnet.cpp-x86-64" and its variants sum as AVX2 does.
std::string arithmetic_note(const std::string& claimed, const Json& facts) {
  return is_compiled_for_avx512(facts) && claimed.starts_with("bitnet.cpp-x86-64")
             ? fmt::format(
                   "the arithmetic '{}' was claimed, but this library was compiled for AVX-512, which is another",
                   claimed)
             : std::string();
}

// The program and the words that make it this engine.
std::vector<std::string> engine_words(const fs::path& program, const AdapterScheme& scheme, const EngineSpec& spec) {
  std::vector<std::string> words = {program.string()};
  for (const std::string& option : scheme.options) {
    words.push_back(option == "{argument}" ? spec.argument : option);
  }
  return words;
}

// What it says of itself under the settings that the user gave. Errors: kUsage: settings that it does not have.
Result<AdapterFacts> facts_under(const std::vector<std::string>& engine, const OpenOptions& options,
                                 Settings& settings) {
  const std::string setting_option = options.option + "-option";
  TERN_ASSIGN_OR_RETURN(settings, parse_settings(options.settings, setting_option));
  TERN_ASSIGN_OR_RETURN(AdapterFacts facts, ask_adapter(engine, {}, options.interrupt));
  TERN_RETURN_IF_ERROR(check_settings(settings, facts.settings, facts.name, setting_option));
  return setting_words(settings).empty() ? Result<AdapterFacts>(std::move(facts))
                                         : ask_adapter(engine, settings, options.interrupt);
}

Result<OpenedEngine> open_adapter(const AdapterManifest& manifest, const AdapterScheme& scheme, const EngineSpec& spec,
                                  const OpenOptions& options) {
  const std::string where = fmt::format("{} {}", options.option, printable(spec.text(), 1000));
  TERN_ASSIGN_OR_RETURN(const AdapterLibrary library,
                        find_adapter_library(scheme, spec.argument, options.recipe.cache, where));
  TERN_ASSIGN_OR_RETURN(const fs::path program, build_adapter(
                                                    manifest, library, options.recipe,
                                                    [&] {
                                                      if (options.on_build) {
                                                        options.on_build(spec.text());
                                                      }
                                                    },
                                                    options.interrupt));
  const std::vector<std::string> engine = engine_words(program, scheme, spec);
  OpenedEngine opened;
  TERN_ASSIGN_OR_RETURN(AdapterFacts facts, facts_under(engine, options, opened.settings));
  const std::string arithmetic = options.arithmetic.empty() ? facts.arithmetic : options.arithmetic;

  std::vector<std::string> words = {program.string(), "--model",  "{model}",      "--tokenizer",  "{tokenizer}",
                                    "--prompt",       "{prompt}", "--max-tokens", "{max_tokens}", "--threads",
                                    "{threads}",      "--out",    "{out}"};
  words.insert(words.end(), engine.begin() + 1, engine.end());
  if (!options.arithmetic.empty()) {
    words.insert(words.end(), {"--arithmetic", options.arithmetic});
  }
  const std::vector<std::string> set = setting_words(opened.settings);
  words.insert(words.end(), set.begin(), set.end());

  opened.kind = scheme.name;
  opened.spec = spec.text();
  opened.engine = facts.name;
  opened.level = facts.level;
  opened.known_settings = std::move(facts.settings);
  opened.note = arithmetic_note(options.arithmetic, facts.engine_facts);
  opened.details = {{"engine", std::move(facts.engine_facts)},
                    {"arithmetic", arithmetic.empty() ? Json() : Json(arithmetic)},
                    {"level", trace::level_name(facts.level)},
                    {"settings", opened.settings},
                    {"layout", library.layout},
                    {"adapter", program.string()}};
  opened.peer = make_command_peer(CommandTemplate(std::move(words)), opened.engine, facts.abilities, opened.settings,
                                  facts.level);
  return opened;
}

}  // namespace

std::vector<EngineScheme> adapter_schemes(const AdapterManifest& manifest) {
  std::vector<EngineScheme> schemes;
  for (const AdapterScheme& scheme : manifest.schemes) {
    schemes.push_back({.name = scheme.name,
                       .argument = scheme.argument,
                       .about = scheme.about,
                       .traits = {.runs = true, .has_adapter = true, .argument_is_path = !scheme.layouts.empty()},
                       .open = [manifest, scheme](const EngineRegistry&, const EngineSpec& spec, const Subject&,
                                                  const OpenOptions& options) {
                         return open_adapter(manifest, scheme, spec, options);
                       }});
  }
  return schemes;
}

}  // namespace tern::peer
