#include "tern/compare/name_pattern.h"

#include <fnmatch.h>

#include <algorithm>

namespace tern::compare {

bool matches(const std::string& pattern, const trace::TensorId& id) {
  const bool whole = pattern.find('/') != std::string::npos;
  return fnmatch(pattern.c_str(), (whole ? id.name() : std::string(id.stage.name())).c_str(), 0) == 0;
}

bool matches_any(const std::vector<std::string>& patterns, const trace::TensorId& id) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& pattern) { return matches(pattern, id); });
}

}  // namespace tern::compare
