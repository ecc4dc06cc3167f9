// What a pack holds, as `tern pack show`, `create` and `record` print it.
#pragma once

#include <string>

#include "tern/base/json.h"
#include "tern/trace/pack.h"

namespace tern::app {

Json pack_json(const trace::Pack& pack);
std::string pack_text(const trace::Pack& pack);

}  // namespace tern::app
