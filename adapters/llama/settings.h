// What --setting KEY=VALUE may change about a context of libllama, beside threads and ubatch, which have options of
// their own. One more setting is one more row of kRows in settings.cc.
#pragma once

#include <llama.h>

#include <map>
#include <string>

#include "tern/base/error.h"
#include "tern/base/json.h"

namespace tern::adapter {

// Puts `settings` into `params`; the keys that are about the library as a whole (cpu_variant) are passed over. What is
// not set is as tern compares: no flash attention, a float16 cache. Errors: kUsage: an unknown key or value.
Status apply_settings(const std::map<std::string, std::string>& settings, llama_context_params& params);

// All that can be set with this library: {"flash_attention": {"values": ["off", "on"]}, ..., "threads": {"from": 1,
// "to": N}}. `backends`: as for load_backends().
Json known_settings(const std::string& backends);

// `settings` with the values of those that are not set: what result.json states.
Json all_settings(const std::map<std::string, std::string>& settings);

}  // namespace tern::adapter
