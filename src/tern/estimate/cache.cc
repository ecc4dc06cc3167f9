#include "tern/estimate/cache.h"

#include <fmt/format.h>

#include <algorithm>

namespace tern::estimate {
namespace {

std::optional<size_t> moved(size_t key, int by) {
  const auto slot = static_cast<int64_t>(key) + by;
  return slot < 0 ? std::nullopt : std::optional(static_cast<size_t>(slot));
}

}  // namespace

std::vector<CacheFault> usual_cache_faults(const std::string& what, size_t n_keys, bool is_decode) {
  std::vector<CacheFault> faults;
  const auto add = [&](Json parameters, std::string says, CacheSlot slot) {
    if (parameters.contains("passes") && !is_decode) {
      return;
    }
    parameters["cache"] = what;
    faults.push_back({std::move(parameters), std::move(says), std::move(slot)});
  };
  for (const int by : {-1, 1, -2, 2}) {
    add({{"shift", by}},
        fmt::format("each {} is that of {} position{} {}", what, std::abs(by), by * by == 1 ? "" : "s",
                    by < 0 ? "before" : "behind"),
        [by, n_keys](const CacheLook& look) -> std::optional<size_t> {
          const auto slot = moved(look.key, by);
          return slot && *slot < n_keys ? slot : look.key;
        });
    add({{"shift", by}, {"passes", "decode"}},
        fmt::format("in decode steps, each {} is that of {} position{} {}", what, std::abs(by), by * by == 1 ? "" : "s",
                    by < 0 ? "before" : "behind"),
        [by, n_keys](const CacheLook& look) -> std::optional<size_t> {
          const auto slot = moved(look.key, look.is_decode ? by : 0);
          return slot && *slot < n_keys ? slot : look.key;
        });
  }
  add({{"own", "that of the token before"}, {"passes", "decode"}},
      fmt::format("a decode step finds the {} of the token before it in place of its own", what),
      [](const CacheLook& look) -> std::optional<size_t> {
        return look.key == look.token && look.is_decode && look.key > 0 ? look.key - 1 : look.key;
      });
  add({{"own", "zeros"}, {"passes", "decode"}}, fmt::format("a decode step finds zeros in place of its own {}", what),
      [](const CacheLook& look) {
        return look.key == look.token && look.is_decode ? std::nullopt : std::optional(look.key);
      });
  add({{"past", "zeros"}, {"passes", "decode"}},
      fmt::format("a decode step finds zeros in place of each {} but its own", what), [](const CacheLook& look) {
        return look.key != look.token && look.is_decode ? std::nullopt : std::optional(look.key);
      });
  add({{"order", "reversed"}}, fmt::format("the {}s stand in the reverse order", what),
      [n_keys](const CacheLook& look) { return std::optional(n_keys - 1 - look.key); });
  return faults;
}

CacheFault listed_slots(const std::string& what, const std::vector<std::optional<size_t>>& slots) {
  std::vector<size_t> keys;
  Json taken = Json::array();
  for (size_t key = 0; key < slots.size(); ++key) {
    if (slots[key] != key) {
      keys.push_back(key);
      taken.push_back(slots[key] ? Json(*slots[key]) : Json());
    }
  }
  std::string says = fmt::format("{} positions find the {} of another", keys.size(), what);
  if (keys.size() == 1) {
    says = taken[0].is_null() ? fmt::format("zeros stand where the {} of position {} should be", what, keys[0])
                              : fmt::format("the {} of position {} stands where that of {} should be", what,
                                            taken[0].get<size_t>(), keys[0]);
  }
  Json parameters = {{"keys", keys}, {"taken_from", std::move(taken)}, {"cache", what}};
  return {std::move(parameters), std::move(says), [slots](const CacheLook& look) {
            return look.key < slots.size() ? slots[look.key] : std::optional(look.key);
          }};
}

}  // namespace tern::estimate
