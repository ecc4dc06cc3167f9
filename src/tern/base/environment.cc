#include "tern/base/environment.h"

#include <cstdlib>

namespace tern {

const char* environment_variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? nullptr : value;
}

}  // namespace tern
