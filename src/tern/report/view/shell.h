// Commands as lines to paste into a shell, quoted so that any POSIX shell reads the words again.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tern/outcome/facts.h"

namespace tern::report {

// Variables, then the command.
std::string shell_line(const std::map<std::string, std::string>& environment, const std::vector<std::string>& command);
// From any folder.
std::string shell_line(const outcome::ReproCommand& repro);

}  // namespace tern::report
