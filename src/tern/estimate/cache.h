// Which keys and values a token finds in the cache. For scores.cc and mixing.cc.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tern/base/json.h"
#include "tern/estimate/stage_facts.h"

namespace tern::estimate {

// A token that looks for the key or value of a position.
struct CacheLook {
  size_t token = 0;        // its own position
  size_t key = 0;          // the position that it looks for
  bool is_decode = false;  // it is alone in its pass
};

// Where it finds what it looks for; nullopt: zeros stand there.
using CacheSlot = std::function<std::optional<size_t>(const CacheLook& look)>;

struct CacheFault {
  Json parameters;
  std::string says;
  CacheSlot slot;
};

// Usual faults of a cache that show in a pass of this kind. `what`: "key" or "value".
std::vector<CacheFault> usual_cache_faults(const std::string& what, size_t n_keys, bool is_decode);

// How a list of slots, one for each key (nullopt: zeros), differs from the textbook's: the slots themselves.
CacheFault listed_slots(const std::string& what, const std::vector<std::optional<size_t>>& slots);

}  // namespace tern::estimate
