// Environment variables as all of tern reads them.
#pragma once

namespace tern {

// The variable's text, or null where it is unset or empty: the two mean the same everywhere in tern. Valid until the
// environment is changed.
const char* environment_variable(const char* name);

}  // namespace tern
