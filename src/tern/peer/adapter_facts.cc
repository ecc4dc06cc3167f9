#include "tern/peer/adapter_facts.h"

#include <fmt/format.h>

#include <algorithm>

#include "tern/base/child_process.h"
#include "tern/base/file.h"
#include "tern/base/scratch_folder.h"

namespace tern::peer {
namespace {

constexpr double kTimeoutS = 60;
constexpr uint64_t kMostBytes = uint64_t{1} << 20;
constexpr size_t kLongestName = 200, kMostAbilities = 64;

// From the first line that starts with '{' to the last that ends with '}'.
std::string_view object_in(std::string_view output) {
  size_t begin = output.starts_with('{') ? 0 : output.find("\n{");
  const size_t end = output.find_last_of('}');
  if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) {
    return {};
  }
  begin += output[begin] == '\n' ? size_t{1} : size_t{0};
  return output.substr(begin, end + 1 - begin);
}

Result<std::string> short_text(const Json& json, const char* key, const std::string& where) {
  TERN_ASSIGN_OR_RETURN(std::string text, json_string(json, key, where));
  if (text.size() > kLongestName || text != printable(text)) {
    return invalid_input(where, fmt::format("key \"{}\" is no text of at most {} bytes", key, kLongestName));
  }
  return text;
}

Result<Abilities> read_abilities(const Json& json, const std::string& where) {
  std::vector<std::string> keys;
  if (json.contains("abilities")) {
    const Json& list = json.at("abilities");
    const auto is_text = [](const Json& key) { return key.is_string(); };
    if (!list.is_array() || list.size() > kMostAbilities || !std::all_of(list.begin(), list.end(), is_text)) {
      return invalid_input(where, fmt::format("key \"abilities\" is no list of at most {} texts", kMostAbilities));
    }
    keys = list.get<std::vector<std::string>>();
  }
  return abilities_of(keys);
}

}  // namespace

Result<AdapterFacts> read_adapter_facts(std::string_view output, const std::string& where) {
  const std::string_view object = object_in(output);
  if (object.empty()) {
    return invalid_input(where, "prints no JSON object");
  }
  TERN_ASSIGN_OR_RETURN(const Json json, parse_json(object, where));
  AdapterFacts facts;
  TERN_ASSIGN_OR_RETURN(facts.name, short_text(json, "name", where));
  if (!json.contains("arithmetic")) {
    return invalid_input(where, "has no key \"arithmetic\" (null where it follows none that is known)");
  }
  if (!json.at("arithmetic").is_null()) {
    TERN_ASSIGN_OR_RETURN(facts.arithmetic, short_text(json, "arithmetic", where));
  }
  TERN_ASSIGN_OR_RETURN(const std::string level, short_text(json, "level", where));
  const auto known_level = trace::parse_level(level);
  if (!known_level) {
    return invalid_input(where, fmt::format("level '{}' is none of {}", level, trace::level_names()));
  }
  facts.level = *known_level;
  TERN_ASSIGN_OR_RETURN(facts.abilities, read_abilities(json, where));
  if (!json.contains("settings")) {
    return invalid_input(where, "has no key \"settings\" ({} where there are none)");
  }
  TERN_ASSIGN_OR_RETURN(facts.settings, known_settings(json.at("settings"), where + ": settings"));
  facts.engine_facts = json.value("engine_facts", Json::object());
  if (!facts.engine_facts.is_object()) {
    return invalid_input(where, "key \"engine_facts\" is no object");
  }
  return facts;
}

Result<AdapterFacts> ask_adapter(const std::vector<std::string>& command, const Settings& settings,
                                 const Interrupt* interrupt) {
  TERN_ASSIGN_OR_RETURN(const ScratchFolder scratch, ScratchFolder::in_temporary_folder());
  ChildCommand child;
  child.argv = command;
  child.argv.emplace_back("--facts");
  const std::vector<std::string> words = setting_words(settings);
  child.argv.insert(child.argv.end(), words.begin(), words.end());
  child.output_path = scratch.path() / "facts";
  child.max_output_bytes = kMostBytes;
  child.timeout_s = kTimeoutS;
  child.interrupt = interrupt;
  const std::string where = command.front() + " --facts";
  TERN_ASSIGN_OR_RETURN(const ChildResult ended, run_child(child));
  if (ended.exit_code != 0) {
    std::string output = ended.output_tail;
    output.erase(output.find_last_not_of(" \n") + 1);
    return fail(ErrorCode::kEngine, command.front(),
                ended.interrupted ? "was interrupted"
                : ended.timed_out ? "did not answer"
                : ended.signal    ? "was killed by " + signal_name(*ended.signal)
                                  : "cannot run: " + printable(output, 400));
  }
  TERN_ASSIGN_OR_RETURN(const std::string output, read_file(child.output_path, 2 * kMostBytes));
  return read_adapter_facts(output, where);
}

std::vector<std::string> setting_words(const Settings& settings) {
  std::vector<std::string> words;
  for (const auto& [key, value] : settings) {
    if (key != "threads" && key != "ubatch") {
      words.insert(words.end(), {"--setting", fmt::format("{}={}", key, value)});
    }
  }
  return words;
}

}  // namespace tern::peer
