// An engine's settings: what --subject-option and --reference-option KEY=VALUE may set, as the engine states it (an
// adapter in its --facts, tern's own engine in app/own_engine.cc), and what was set.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/json.h"

namespace tern::peer {

// By key, as given: {"flash_attention": "on"}. Part of provenance, so what was not set is not in it.
using Settings = std::map<std::string, std::string>;

// One key that an engine has: a word out of a list, or a whole number in a range.
struct KnownSetting {
  std::string key;
  std::vector<std::string> values;  // empty: a number
  int64_t low = 0, high = 0;
  std::string text() const;  // "flash_attention (off, on, auto)", "threads (1 to 1024)"
};

// What an adapter states under "settings": {"flash_attention": {"values": ["off", "on"]}, "threads": {"from": 1, "to":
// 1024}}. Errors: kInvalidInput: `where` is no object, a key is no lower-case name, more than 64 of them, a value that
// could not stand on a command line.
Result<std::vector<KnownSetting>> known_settings(const Json& settings, const std::string& where);

// "KEY=VALUE" each, of any engine. Errors: kUsage: another form, a key that is given twice. `option` is
// "--subject-option" or "--reference-option", for the error.
Result<Settings> parse_settings(const std::vector<std::string>& texts, const std::string& option);

// Errors: kUsage: a key or a value that `engine` does not have; names the nearest one and all there are.
Status check_settings(const Settings& settings, const std::vector<KnownSetting>& known, const std::string& engine,
                      const std::string& option);

// "flash_attention=on, threads=2"; empty for none.
std::string settings_text(const Settings& settings);

}  // namespace tern::peer
